// The engine for baseline.
#include "simd/system.hpp"
#define CORE baseline
#define CORE_KERNELS baseline_kernels
#define LANES 2
#include "simd/parts.hpp"
