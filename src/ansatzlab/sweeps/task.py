"""Runs that are not the training of a `RunSpec`: a function by name, with its keywords."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Annotated

from pydantic import Field, JsonValue

from ansatzlab.errors import InputError
from ansatzlab.sweeps.spec import DataSpec, Spec

Task = Callable[..., Iterable[Mapping[str, object]]]
"""Takes ``seed`` and the options as keywords; gives rows."""


def data_options(source: DataSpec) -> dict[str, JsonValue]:
    """Return a whole data set as options of a task, which loads it by ``DataSpec(name=data, digest=digest).load()``.

    Args:
        source: The data set, as `DataSpec.of` gives it.

    Returns:
        ``data``, its name; of a file also ``digest``, so that a changed file is another run.
    """
    return {"data": source.name, **({"digest": source.digest} if source.digest else {})}


class TaskSpec(Spec):
    """One call of a function that gives rows.

    Conventions:
        The function yields mappings with any of the store's columns of a measurement (snapshot, step, flow_time, loss,
        layer, layer_index, eigenvalues, energies, sums) and observables, which are numbers. Its options named data,
        depth, weight_decay, learning_rate and optimizer also say what the run was in the columns of these names.

    Attributes:
        experiment: What the run is for; runs of one experiment are judged together.
        seed: The function's keyword of this name.
        task: The function, ``package.module:function``; every worker must be able to import it.
        options: Its other keywords, of JSON's types.
    """

    task: Annotated[str, Field(pattern=r"^\w+(\.\w+)*:\w+$")]
    options: Annotated[dict[str, JsonValue], Field(default_factory=dict)]

    def function(self) -> Task:
        """Import the function.

        Raises:
            InputError: If there is no such module or function.
        """
        module, _, name = self.task.partition(":")
        try:
            found: Task = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"task {self.task}: cannot be imported ({error}); wanted package.module:function; check the name and "
                "that it is installed where the run is executed."
            ) from error
        return found

    def rows(self) -> Iterable[Mapping[str, object]]:
        """Call the function.

        Raises:
            InputError: If it does not exist.
            Exception: Whatever it raises.
        """
        return self.function()(seed=self.seed, **self.options)

    def identity(self) -> dict[str, object]:
        """Return what the run is, in the store's columns (see `Spec`), as far as the options say."""
        options = self.options
        return {
            "data": str(options.get("data", "")),
            "dynamics": str(options.get("optimizer", self.task.partition(":")[2])),
            "depth": options.get("depth", 0),
            "weight_decay": options.get("weight_decay", 0.0),
            "learning_rate": options.get("learning_rate"),
        }
