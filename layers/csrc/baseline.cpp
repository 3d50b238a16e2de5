// The engine for baseline.
#include "system.hpp"
#define CORE baseline
#define CORE_KERNELS baseline_kernels
#define LANES 2
#include "parts.hpp"
