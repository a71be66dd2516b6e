from playhead.apps.transfer import as_markdown


def test_a_tower_is_one_line_of_mean_and_deviation_over_seeds():
    metrics = ("nlq/R1@0.3", "nlq/R5@0.3", "nlq/R1@0.5", "nlq/R5@0.5", "nlq/mIoU")

    def scores(value):
        return dict.fromkeys(metrics, value) | {"nlq/queries": 399.0, "nlq/coverage": 1.0}

    results = {"untrained": [scores(1.0), scores(3.0)], "ego_nce": [scores(20.0), scores(24.0)]}
    lines = as_markdown("nlq", results, (0, 1), None).splitlines()
    assert lines[0] == (
        "NLQ on the generated world, 399 queries of the validation videos, percent, mean and standard deviation over "
        "seeds 0, 1."
    )
    assert lines[2] == "| method | pretraining | R1@0.3 | R5@0.3 | R1@0.5 | R5@0.5 | mIoU |"
    assert lines[4] == "| VSLNet | none | " + " | ".join(["2.0 ± 1.4"] * 5) + " |"
    assert lines[5] == "| VSLNet | EgoNCE | " + " | ".join(["22.0 ± 2.8"] * 5) + " |"


def test_pnr_is_in_seconds_and_stands_beside_always_the_same_answer():
    found = {"pnr/error": 0.61234, "pnr/error_official": 0.7, "pnr/clips": 61.0}
    lines = as_markdown("pnr", {"info_nce": [found]}, (0,), {"pnr/error": 1.9, "pnr/error_official": 2.0}).splitlines()
    assert "61 clips" in lines[0] and "seconds" in lines[0]
    assert lines[4] == "| always same | - | 1.900 | 2.000 |"
    assert lines[5] == "| fine-tuned tower | InfoNCE | 0.612 ± 0.000 | 0.700 ± 0.000 |"
