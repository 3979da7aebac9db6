"""What a module that holds several linear maps must offer so that each of them can be watched."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

Visit = Callable[[str, Tensor, Tensor], Tensor]
"""Called at every use of a linear map with its suffix, what went in and what came out, examples first; returns the
tensor with which the computation goes on."""

Trace = Callable[[nn.Module, tuple[object, ...], Mapping[str, object], Visit], object]
"""Computes what the module returns for these arguments, telling a `Visit` of every linear map on the way."""
