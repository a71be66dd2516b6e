from playhead.apps.sweep import SweepReport, SweepRun, run_name

RUNS = (
    SweepRun("default", {}, {"nlq/R1@0.3": 4.0, "nlq/R1@0.5": 2.0}),
    SweepRun("a", {"optim.lr": 1.0}, {"nlq/R1@0.3": 6.0, "nlq/R1@0.5": 1.0}),
    SweepRun("b", {"optim.lr": 2.0}, failure="the loss is nan"),
    SweepRun("c", {"optim.lr": 3.0}, {"nlq/R1@0.3": 2.0, "nlq/R1@0.5": 3.0}),
)


def test_default_and_best_are_told_apart_and_failures_listed():
    report = SweepReport("nlq/R1@0.3", RUNS)
    assert (report.default.name, report.best.name) == ("default", "a")
    lines = report.as_markdown().splitlines()
    assert "Default 4.00, best 6.00, mean 4.00, standard deviation 2.00" in lines[0]  # 4, 6, 2
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| a", "| default", "| c", "| b"]
    assert lines[-1] == "| b | failed: the loss is nan |"


def test_a_run_is_named_by_its_settings_without_signs_a_file_system_refuses():
    assert run_name([("optim.lr", 1e-4), ("task.train", "a/b")]) == "optim.lr=0.0001,task.train=a_b"


def test_with_a_minus_the_lowest_is_best_and_nan_never_is():
    runs = tuple(SweepRun(str(error), {}, {"pnr/error": error}) for error in (0.7, float("nan"), 0.6, 0.9))
    report = SweepReport("-pnr/error", runs)
    assert report.best.name == "0.6"
    assert [line.split(" | ")[0] for line in report.as_markdown().splitlines()[4:]] == [
        "| 0.6",
        "| 0.7",
        "| 0.9",
        "| nan",
    ]
