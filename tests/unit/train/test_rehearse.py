import torch

from playhead.recipes.base import build_model
from playhead.recipes.made_up import made_up_samples
from playhead.recipes.small import toy, world_ego_nce
from playhead.train.config import Train
from playhead.train.rehearse import rehearse


def rehearsed(**train):
    recipe = toy(world_ego_nce())
    model = build_model(recipe)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    batch = recipe.task.collate(made_up_samples(recipe, 4))
    settings = Train(global_batch=4, steps=1, **train)
    cost = rehearse(model, recipe.task, [batch], recipe.optim, settings, 2, torch.device("cpu"))
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    return cost, model, moved


def test_each_step_is_timed_and_really_made():
    cost, _, moved = rehearsed()
    assert len(cost.seconds) == 2 and min(cost.seconds) > 0
    assert any(moved)
    assert cost.peak_bytes is None or cost.peak_bytes > 1e6


def test_a_batch_is_encoded_in_parts_where_the_run_would():
    recipe = toy(world_ego_nce())
    model = build_model(recipe)
    encode, rows = model.encode_video, []
    model.encode_video = lambda video: (rows.append(len(video)), encode(video))[1]
    batch = recipe.task.collate(made_up_samples(recipe, 4))  # 8 rows, with the neighbours
    settings = Train(global_batch=4, steps=1, micro_batch=4)
    rehearse(model, recipe.task, [batch], recipe.optim, settings, 1, torch.device("cpu"))
    assert rows == [4] * 8  # two parts, each twice, in the step and in the one before it


def test_how_torch_computes_is_put_back():
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    rehearsed(matmul="medium", threads=1)
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == (precision, threads)
