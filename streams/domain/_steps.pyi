from streams.domain.counted_days import CountedDays as CountedDays
from streams.domain.steps import DaySum as DaySum
from streams.domain.steps import OrderLists as OrderLists
from streams.domain.steps import OwnUnits as OwnUnits
from streams.domain.steps import PackedOrders as PackedOrders
from streams.domain.steps import Restoring as Restoring
from streams.domain.steps import Sum as Sum
from streams.domain.steps import Touched as Touched
from streams.domain.steps import TouchedCounts as TouchedCounts
from streams.domain.steps import UnitSearch as UnitSearch
from streams.domain.steps import add_up as add_up
from streams.domain.steps import count_plain as count_plain
from streams.domain.steps import follow as follow
from streams.domain.steps import give_back as give_back
from streams.domain.steps import hours as hours
from streams.domain.steps import order_at as order_at
from streams.domain.steps import order_ids as order_ids
from streams.domain.steps import orders_in as orders_in
from streams.domain.steps import store as store
from streams.domain.steps import unpack as unpack
from streams.domain.steps import unpack_at as unpack_at

SOURCE: str
