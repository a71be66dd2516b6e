import logging

import pytest
import torch

from playhead.train import numerics
from playhead.train.config import Train
from playhead.train.numerics import computing_as, product_error


def settings(**more) -> Train:
    return Train(global_batch=1, steps=1, **more)


def test_how_torch_computes_is_put_back_also_after_an_error():
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    with pytest.raises(KeyError), computing_as(settings(matmul="medium", threads=1, deterministic=True)):
        assert torch.get_float32_matmul_precision() == "medium" and torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_error_of_a_float32_product_is_that_of_float32():
    assert 0 < product_error() < 1e-5


def test_a_processor_on_which_medium_is_rough_is_told(monkeypatch, caplog):
    """As CPUs with AMX do it: both factors are rounded to bf16, which leaves 8 bits."""
    rough = torch.Tensor.__matmul__
    bf16 = lambda one, other: rough(one.bfloat16(), other.bfloat16()).to(one.dtype)  # noqa: E731
    monkeypatch.setattr(numerics.torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, logger="playhead"):
        with computing_as(settings()):
            pass
        with monkeypatch.context() as patched:
            patched.setattr(
                torch.Tensor, "__matmul__", lambda a, b: bf16(a, b) if a.dtype == torch.float32 else rough(a, b)
            )
            with computing_as(settings(matmul="medium")):
                pass
    (told,) = caplog.messages
    assert "train.matmul='medium'" in told and "'highest'" in told
