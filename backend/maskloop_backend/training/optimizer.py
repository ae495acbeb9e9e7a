"""AdamW with a learning rate of its own for every variable, and a running mean of what the variables were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("maskloop")
class RatedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW whose steps are scaled, variable by variable.

    Adam's step does not depend on the size of the gradient, so a slower backbone needs a smaller rate, not a smaller
    gradient. The weight decay is the same for all kernels; biases, scales and shifts have none.

    Args:
        rates: one factor a variable, in the order in which the optimizer is built for them.
        average: share of the past in the running mean of the variables, 0 <= average < 1; 0 keeps none. The mean of the
            first steps forgets faster, so that short trainings have one that is worth something, too.
        *args: as of keras.optimizers.AdamW.
        **kwargs: likewise.
    """

    def __init__(self, rates: Sequence[float], *args: Any, average: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rates = list(rates)
        self._average = average
        self._means: list[Any] = []

    def build(self, variables: Any) -> None:
        """Make the moments, and the running means."""
        if self.built:
            return
        self.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
        super().build(variables)
        if self._average:
            self._means = self.add_optimizer_variables(variables, "mean")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable with its share of the learning rate."""
        index = self._get_variable_index(variable)
        super().update_step(gradient, variable, learning_rate * self._rates[index])
        if self._means:
            done = ops.cast(self.iterations, variable.dtype)
            # step 0 takes the variable as it is: the mean begins with no value of its own
            past = ops.minimum(self._average, done / (done + 10))
            mean = self._means[index]
            mean.assign(past * mean + (1 - past) * ops.convert_to_tensor(variable))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the variables their running means while the block runs; without means, or before a step, change nothing."""
        if not self._means or not int(self.iterations):
            yield
            return
        kept = [ops.convert_to_numpy(variable) for variable in self._trainable_variables]
        for variable, mean in zip(self._trainable_variables, self._means, strict=True):
            variable.assign(mean)
        try:
            yield
        finally:
            for variable, value in zip(self._trainable_variables, kept, strict=True):
                variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same optimizer."""
        return {**super().get_config(), "rates": self._rates, "average": self._average}
