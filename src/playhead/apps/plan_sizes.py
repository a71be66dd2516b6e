"""How large the recipes' data sets are, as published: what a plan takes where the files are not at hand."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Training samples of an epoch, hours of video where they are told, and who says so."""

    samples: int
    source: str
    hours: float | None = None


EGOCLIP = Published(3_847_723, "released egoclip.csv; EgoVLP (Lin et al., 2022) tells 2,927 hours", 2927.0)
HYBRID = Published(1_350_000, "UnlabeledHybrid, about; InternVideo (Wang et al., 2022)")
KINETICS_400 = Published(240_000, "Kinetics-400, about; its training list")
SOMETHING_V2 = Published(168_913, "Something-Something v2, training split")
KINETICS_710 = Published(658_000, "Kinetics-710, about; InternVideo (Wang et al., 2022)")
QUERIES = Published(11_300, "queries of NLQ's training split, about; Ego4D (Grauman et al., 2022)")
MOMENTS = Published(1_486, "clips of MQ's training split; Ego4D (Grauman et al., 2022)")
STATE_CHANGES = Published(41_085, "clips of OSCC's training split; Ego4D (Grauman et al., 2022)")

BY_RECIPE: dict[str, Published] = {
    **dict.fromkeys(("egoclip", "egoclip_info_nce", "egoclip_released", "egoclip_fast"), EGOCLIP),
    "webvid_cc3m": Published(5_800_000, "2.5 M of WebVid-2M and 3.3 M of CC3M; Frozen in Time (Bain et al., 2021)"),
    "howto100m": Published(1_220_000, "videos of HowTo100M, each once an epoch (Miech et al., 2019)"),
    **dict.fromkeys(("videomae_base", "videomae_large", "videomae_huge"), HYBRID),
    **dict.fromkeys(("videomae_k400_base", "videomae_k400_large", "videomae_k400_huge", "k710_to_k400"), KINETICS_400),
    **dict.fromkeys(("videomae_ssv2_base", "videomae_ssv2_huge"), SOMETHING_V2),
    "k710_postpretrain": KINETICS_710,
}
BY_PREFIX: dict[str, Published] = {
    "nlq_": QUERIES,
    "mq_": MOMENTS,
    "oscc_": STATE_CHANGES,
    "state_change_": STATE_CHANGES,
}


def published_size(recipe: str) -> Published | None:
    """Return what is published of the data that a recipe of the catalog learns from; None if nothing is."""
    if recipe in BY_RECIPE:
        return BY_RECIPE[recipe]
    return next((size for prefix, size in BY_PREFIX.items() if recipe.startswith(prefix)), None)
