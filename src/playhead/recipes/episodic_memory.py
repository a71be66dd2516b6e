"""EgoVLP's transfer to Ego4D's episodic memory: language queries (NLQ) and moment queries (MQ), row by row.

Every figure here is quoted as *published*: none was measured with this package. And the published rows are the best of
sweeps (96 runs for NLQ, 144 for MQ), not of the settings below, which are the defaults of the systems used; run
`playhead sweep` for the former. NLQ figures are R@1 and R@5 at IoU 0.3, then at 0.5; MQ figures are R@1x at IoU 0.5,
then mAP over IoU 0.1 to 0.5.

Where the features lie: `ego4d/features/<pretraining>` and `ego4d/text/<pretraining>`, as `playhead clip-features` and
`playhead text-features` write them with a bundle of that pretraining; SlowFast's as Ego4D distributes them, BERT's as
token features of the same layout.
"""

from dataclasses import replace

from playhead.data.feature_files import FeatureSet, TimeBase
from playhead.decoding.nms import Suppression
from playhead.models.point_pyramid import PointPyramidConfig
from playhead.models.tan2d import Tan2dConfig
from playhead.models.vsgn import VSGNConfig
from playhead.models.vslnet import VSLNetConfig
from playhead.recipes.base import Recipe
from playhead.recipes.egovlp import EGO4D
from playhead.tasks.actionformer_head import ActionFormerHead
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.query_heads import PointPyramidHead, Tan2dHead, VSLNetHead
from playhead.tasks.temporal_localization import TemporalLocalization
from playhead.tasks.vsgn_head import VSGNHead
from playhead.train.config import Optim, Train

EGOVLP_WIDTH, SLOWFAST_WIDTH, BERT_WIDTH = 256, 2304, 768


def frozen_features(pretraining: str) -> FeatureSet:
    """Return the features of a Frozen tower: 1.87 rows a second, four frames each (EgoVLP report, section 3.1)."""
    return FeatureSet(
        folders=(EGO4D / "features" / pretraining,),
        time=TimeBase(fps=4 * 1.87, frames=4, stride=4),
        per="clip",
        widths=(EGOVLP_WIDTH,),
    )


def slowfast_features() -> FeatureSet:
    """Return Ego4D's own SlowFast 8x8 features: 32 frames of 30 a second, every 16."""
    return FeatureSet(
        folders=(EGO4D / "features" / "slowfast8x8_r101_k400",),
        time=TimeBase(fps=30, frames=32, stride=16),
        per="video",
        widths=(SLOWFAST_WIDTH,),
    )


def language_query(features: FeatureSet, text: str, head: VSLNetHead | Tan2dHead | PointPyramidHead) -> LanguageQuery:
    """Return NLQ over Ego4D's files; `text` names the folder of text features."""
    annotations = EGO4D / "annotations"
    return LanguageQuery(
        train_queries=annotations / "nlq_train.json",
        val_queries=annotations / "nlq_val.json",
        test_queries=annotations / "nlq_test_unannotated.json",
        features=features,
        text=EGO4D / "text" / text,
        head=head,
    )


def moment_query(features: FeatureSet, head: VSGNHead | ActionFormerHead) -> TemporalLocalization:
    """Return MQ over Ego4D's files."""
    annotations = EGO4D / "annotations"
    return TemporalLocalization(
        train_segments=annotations / "moments_train.json",
        val_segments=annotations / "moments_val.json",
        test_segments=annotations / "moments_test_unannotated.json",
        features=features,
        head=head,
    )


def _vslnet(features: FeatureSet, text: str, text_width: int) -> Recipe:
    return Recipe(
        model=VSLNetConfig(video_dim=features.width, text_dim=text_width),
        task=language_query(features, text, VSLNetHead()),
        optim=Optim(lr=1e-4, weight_decay=0.01, decayed="all_but_biases_and_norms", schedule="linear", clip_norm=1.0),
        train=Train(global_batch=32, epochs=200, seed=12345, keep_best="nlq/R1@0.3"),
    )


def nlq_tan2d_slowfast() -> Recipe:
    """Answer NLQ with 2D-TAN on SlowFast and BERT features.

    Published (EgoVLP report, Table 1, val; quoted there from the Ego4D paper): 5.04, 12.89, 2.02, 5.88. The released
    code of this row cannot train; windows and rates are those of its configuration.
    """
    features = slowfast_features()
    task = replace(
        language_query(features, "bert", Tan2dHead()),
        window=40.0,
        window_stride=20.0,
        suppression=Suppression(method="greedy", per_class=False, iou_threshold=0.5, min_score=0.0),
    )
    return Recipe(
        model=Tan2dConfig(video_dim=SLOWFAST_WIDTH, text_dim=BERT_WIDTH),
        task=task,
        optim=Optim(lr=5e-5, clip_norm=10.0),
        train=Train(global_batch=32, epochs=100, keep_best="nlq/R1@0.3"),
    )


def nlq_vslnet_slowfast() -> Recipe:
    """Answer NLQ with VSLNet on SlowFast and BERT features: the official baseline.

    Published: val (Table 1) 5.45, 10.74, 3.12, 6.63; test (Table 4) 5.47, 11.21, 2.80, 6.57.
    """
    return _vslnet(slowfast_features(), "bert", BERT_WIDTH)


def nlq_vslnet_howto100m() -> Recipe:
    """Answer NLQ with VSLNet on features of Frozen pretrained on HowTo100M.

    Published: val (Table 1) 3.95, 8.72, 2.01, 4.62; test (Table 4) 3.77, 6.87, 1.62, 3.45.
    """
    return _vslnet(frozen_features("howto100m"), "howto100m", EGOVLP_WIDTH)


def nlq_vslnet_cc3m_webvid2m() -> Recipe:
    """Answer NLQ with VSLNet on features of Frozen pretrained on CC3M and WebVid-2M.

    Published: val (Table 1) 5.06, 10.30, 2.71, 6.69; test (Table 4) 4.87, 8.67, 2.50, 4.97.
    """
    return _vslnet(frozen_features("cc3m_webvid2m"), "cc3m_webvid2m", EGOVLP_WIDTH)


def nlq_vslnet_egoclip() -> Recipe:
    """Answer NLQ with VSLNet on features of Frozen pretrained on EgoClip with InfoNCE.

    Published: val (Table 1) 10.53, 17.94, 5.96, 11.85; test (Table 4) 10.34, 15.81, 6.24, 10.39.
    """
    return _vslnet(frozen_features("egoclip"), "egoclip", EGOVLP_WIDTH)


def nlq_vslnet_egoclip_egonce() -> Recipe:
    """Answer NLQ with VSLNet on features of Frozen pretrained on EgoClip with EgoNCE.

    Published: val (Table 1) 10.84, 18.84, 6.81, 13.45; test (Table 4) 10.46, 16.76, 6.24, 11.29.
    """
    return _vslnet(frozen_features("egoclip_egonce"), "egoclip_egonce", EGOVLP_WIDTH)


def nlq_point_pyramid_egoclip_egonce() -> Recipe:
    """Answer NLQ with a point pyramid that reads the query, the design that GroundNLQ and SnAG share.

    Sizes and rates are ours after those papers. Published on the same features: SnAG 15.53 and 10.94 (R@1 at IoU 0.3
    and 0.5, val).
    """
    features = frozen_features("egoclip_egonce")
    task = replace(
        language_query(features, "egoclip_egonce", PointPyramidHead()),
        suppression=Suppression(per_class=False, sigma=0.75, top=5),
    )
    return Recipe(
        model=PointPyramidConfig(
            input_widths=(EGOVLP_WIDTH,),
            num_classes=1,
            max_steps=1024,
            width=384,
            neck_width=384,
            head_width=384,
            levels=8,
            windows=(9,),
            absolute_positions=True,
            dropout=0.1,
            text_width=EGOVLP_WIDTH,
        ),
        task=task,
        optim=Optim(lr=1e-4, weight_decay=0.05, schedule="cosine", warmup_steps=2000, clip_norm=1.0),
        train=Train(global_batch=8, epochs=15, ema_decay=0.999, keep_best="nlq/R1@0.3"),
    )


def _vsgn(features: FeatureSet) -> Recipe:
    return Recipe(
        model=VSGNConfig(feature_dim=features.width),
        task=moment_query(features, VSGNHead()),
        optim=Optim(lr=1e-4, weight_decay=1e-4, schedule="step", step_epochs=15, gamma=0.1),
        train=Train(global_batch=32, epochs=50, keep_best="mq/mAP"),
    )


def mq_vsgn_slowfast() -> Recipe:
    """Answer MQ with VSGN on SlowFast features: the official baseline.

    Published: val (Table 3) 25.16, 6.03; test (Table 5) 24.25, 5.68.
    """
    return _vsgn(slowfast_features())


def mq_vsgn_howto100m() -> Recipe:
    """Answer MQ with VSGN on features of Frozen pretrained on HowTo100M.

    Published: val (Table 3) 22.28, 6.72; test (Table 5) 18.06, 5.28.
    """
    return _vsgn(frozen_features("howto100m"))


def mq_vsgn_cc3m_webvid2m() -> Recipe:
    """Answer MQ with VSGN on features of Frozen pretrained on CC3M and WebVid-2M.

    Published: val (Table 3) 23.46, 6.58; test (Table 5) 19.74, 5.95.
    """
    return _vsgn(frozen_features("cc3m_webvid2m"))


def mq_vsgn_egoclip() -> Recipe:
    """Answer MQ with VSGN on features of Frozen pretrained on EgoClip with InfoNCE.

    Published: val (Table 3) 29.59, 10.69; test (Table 5) 27.98, 9.78.
    """
    return _vsgn(frozen_features("egoclip"))


def mq_vsgn_egoclip_egonce() -> Recipe:
    """Answer MQ with VSGN on features of Frozen pretrained on EgoClip with EgoNCE.

    Published: val (Table 3) 30.14, 11.39; test (Table 5) 28.03, 10.33.
    """
    return _vsgn(frozen_features("egoclip_egonce"))


def mq_actionformer_egoclip_egonce() -> Recipe:
    """Answer MQ with ActionFormer on features of Frozen pretrained on EgoClip with EgoNCE.

    Settings of the released `ego4d_egovlp.yaml`; 5 of its 15 epochs are warm-up. Published (its README, v1 val, by its
    own evaluator, which is not the official one): average mAP 20.60.
    """
    head = ActionFormerHead(ranges_overlap=True)
    task = replace(moment_query(frozen_features("egoclip_egonce"), head), shortest=0.25)
    return Recipe(
        model=PointPyramidConfig(
            input_widths=(EGOVLP_WIDTH,),
            num_classes=110,
            max_steps=1024,
            width=384,
            neck_width=384,
            head_width=384,
            levels=8,
            windows=(9,),
            absolute_positions=True,
            dropout=0.1,
        ),
        task=replace(task, head=replace(head, crop=replace(head.crop, max_rows=1024))),
        optim=Optim(lr=1e-4, weight_decay=0.05, schedule="cosine", warmup_steps=3700, clip_norm=1.0),
        train=Train(global_batch=2, epochs=15, ema_decay=0.999, keep_best="mq/mAP"),
    )
