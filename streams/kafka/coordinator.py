"""Says that the group of the workers has no coordinator, in a line now and then; aiokafka logs ten lines a second."""

from __future__ import annotations

import logging
import math
import time

from aiokafka.errors import GroupCoordinatorNotAvailableError

logger = logging.getLogger(__name__)

#: A new cluster creates its internal topic for groups only when the first group asks for its coordinator; within this time.
_NEW_COORDINATOR_S = 10.0
_INTERVAL_S = 60.0
#: aiokafka's message.
_GIVEN_UP = "Marking the coordinator dead (node %s)for group %s."


def quiet_coordinator() -> None:
    """Replaces aiokafka's errors about a missing coordinator by a line a minute, once it lasts longer than in a new cluster."""
    logging.getLogger("aiokafka.consumer.group_coordinator").addFilter(_MissingCoordinator())


class _MissingCoordinator(logging.Filter):
    """Drops reports of a missing coordinator, and says it itself if it is missing for longer than its first start may take."""

    def __init__(self) -> None:
        super().__init__()
        self._missing_since_s = 0.0
        self._missed_s = self._told_s = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        is_missing = any(isinstance(argument, GroupCoordinatorNotAvailableError) for argument in arguments)
        # While the coordinator is being set up, it is given up and looked up again a few times.
        if not is_missing and record.msg != _GIVEN_UP:
            return True
        now_s = time.monotonic()
        if now_s - self._missed_s > _INTERVAL_S:
            self._missing_since_s = now_s
        self._missed_s = now_s
        lasts_s = now_s - self._missing_since_s
        if lasts_s <= _NEW_COORDINATOR_S:
            return False
        if is_missing and now_s - self._told_s >= _INTERVAL_S:
            self._told_s = now_s
            logger.warning(
                "the cluster has had no coordinator for the group of the workers for %.0f s, so nothing is counted: it cannot create "
                "its log of groups (__consumer_offsets), or the log has no leader; milestones doctor looks for the reason",
                lasts_s,
            )
        return not is_missing
