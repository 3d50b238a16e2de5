// The engine for avx512.
#include "simd/system.hpp"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi2,prefer-vector-width=512")
#endif
#define CORE avx512
#define CORE_KERNELS avx512_kernels
#define LANES 8
#include "simd/parts.hpp"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
