from streams.domain.steps import OrderLists as OrderLists
from streams.domain.steps import PackedOrders as PackedOrders
from streams.domain.steps import add_own as add_own
from streams.domain.steps import latest as latest
from streams.domain.steps import order_ids as order_ids
from streams.domain.steps import part as part
from streams.domain.steps import store as store

SOURCE: str
