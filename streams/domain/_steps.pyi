from streams.domain.orders.counted_days import CountedDays as CountedDays
from streams.domain.orders.steps import OrderLists as OrderLists
from streams.domain.orders.steps import OwnUnits as OwnUnits
from streams.domain.orders.steps import PackedOrders as PackedOrders
from streams.domain.orders.steps import Restoring as Restoring
from streams.domain.orders.steps import Touched as Touched
from streams.domain.orders.steps import TouchedCounts as TouchedCounts
from streams.domain.orders.steps import UnitSearch as UnitSearch
from streams.domain.orders.steps import count_plain as count_plain
from streams.domain.orders.steps import follow as follow
from streams.domain.orders.steps import give_back as give_back
from streams.domain.orders.steps import hours as hours
from streams.domain.orders.steps import order_at as order_at
from streams.domain.orders.steps import order_ids as order_ids
from streams.domain.orders.steps import orders_in as orders_in
from streams.domain.orders.steps import store as store
from streams.domain.orders.steps import unpack as unpack
from streams.domain.orders.steps import unpack_at as unpack_at
from streams.domain.orders.sums import DaySum as DaySum
from streams.domain.orders.sums import Sum as Sum
from streams.domain.orders.sums import add_up as add_up

SOURCE: str
