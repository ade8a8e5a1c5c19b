"""The parts of the embedded Kafka: jars, Java, machine, configuration, supervisor, diagnosis."""
