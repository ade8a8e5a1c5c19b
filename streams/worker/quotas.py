"""Says when the cluster's quotas slow a worker down: nothing else tells that lag from a worker that is too slow."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.kafka.connection import Throttling

logger = logging.getLogger(__name__)

_INTERVAL_S = 60.0
#: Held up for less than this share of the time, a worker is hardly slower.
_WORTH_TELLING = 0.1


class QuotaNotice:
    """Logs a warning once a minute while quotas hold up this process.

    Args:
        throttling: What quotas cost, counted elsewhere.
        clock_s: Seconds of a clock that does not jump.
    """

    def __init__(self, throttling: Throttling, clock_s: Callable[[], float]) -> None:
        self._throttling = throttling
        self._clock_s = clock_s
        self._began_s, self._before_s = clock_s(), throttling.seconds

    def look(self) -> None:
        """Warns if a minute has passed in which requests were held up; call it often."""
        now_s = self._clock_s()
        passed_s = now_s - self._began_s
        if passed_s < _INTERVAL_S:
            return
        held_s = self._throttling.seconds - self._before_s
        self._began_s, self._before_s = now_s, self._throttling.seconds
        if held_s >= passed_s * _WORTH_TELLING:
            logger.warning(
                "quotas of the cluster hold up this worker: its requests waited for %.0f s in all within the last %.0f s; if it lags, "
                "raise the quotas of its user or of its client ids (producer_byte_rate, consumer_byte_rate, request_percentage)",
                held_s,
                passed_s,
            )
