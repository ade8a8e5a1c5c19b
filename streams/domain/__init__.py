"""Pure rules: values in, values out; no I/O, no async, no clock, no Kafka."""
