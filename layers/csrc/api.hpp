// What crosses the border between Python and the engine: pointers, sizes and strides, checked in module.cpp.
#pragma once

namespace convex_layers {

// Problem i starts at pointer + i · stride (in numbers); a stride of zero means shared over the batch.
struct Data {
    int n, m, p;
    long batch;
    const double *Q, *q, *G, *h, *A, *b;
    long Q_stride, q_stride, G_stride, h_stride, A_stride, b_stride;
};

struct Options {
    double tol, rounding;  // rounding: asymmetry and negative curvature of Q that are none, relative to its largest entry
    int max_iterations, threads;
    const double *z, *lam, *nu, *s;  // an earlier solution, or null
};

// Verdicts beside those of layers/solution.py: the element is left to the torch engine, or its data must be checked there.
enum Verdict : long long { OPTIMAL = 0, LEFT = -1, SUSPECT = -2 };

struct Answer {
    double *z, *lam, *nu, *s, *objective, *residuals;  // (B, n), (B, m), (B, p), (B, m), (B,), (B, 3)
    signed char* kind;                                 // (B, m); -1 where the torch engine has to tell
    long long *status, *iterations;
};

// The derivative's linear system K x = r on the active rows; x may be the array of r.
struct Linearised {
    const signed char* kind;
    const long long* status;
    const double *r_z, *r_lam, *r_nu;
    double *x_z, *x_lam, *x_nu, *error;  // error: backward error, infinite where the torch engine has to answer
};

// out = scale · (u vᵀ + w xᵀ) per element.
struct Outer {
    long batch, rows, columns;
    const double *u, *v, *w, *x;
    double scale, *out;
};

// Polled between groups: true stops the work.
using Poll = bool (*)();

}  // namespace convex_layers
