// The engine for avx2.
#include "simd/system.hpp"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi2")
#endif
#define CORE avx2
#define CORE_KERNELS avx2_kernels
#define LANES 4
#include "simd/parts.hpp"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
