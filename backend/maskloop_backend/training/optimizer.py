"""AdamW with a learning rate of its own for every variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("maskloop")
class RatedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW whose steps are scaled, variable by variable.

    Adam's step does not depend on the size of the gradient, so a slower backbone needs a smaller rate, not a smaller
    gradient. The weight decay is the same for all.

    Args:
        rates: one factor a variable, in the order in which the optimizer is built for them.
        *args: as of keras.optimizers.AdamW.
        **kwargs: likewise.
    """

    def __init__(self, rates: Sequence[float], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rates = list(rates)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable with its share of the learning rate."""
        rate = self._rates[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * rate)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same optimizer."""
        return {**super().get_config(), "rates": self._rates}
