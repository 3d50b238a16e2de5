"""What is around a call: the compiler, the tracer, the transforms and the modes of torch."""
