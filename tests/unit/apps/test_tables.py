from playhead.apps.tables import as_markdown


def test_a_row_gives_mean_and_sample_deviation():
    scores = [{"egomcq/inter": value, "egomcq/intra": 50.0} for value in (60.0, 70.0, 80.0)]
    table = as_markdown({"EgoNCE": scores}, (0, 1, 2), "9 steps of 4 pairs")
    assert table.splitlines()[-1] == "| EgoNCE | 70.0 ± 10.0 | 50.0 ± 0.0 |"
    assert "seeds 0, 1, 2; 9 steps of 4 pairs" in table
