// A number of twice the working precision, the sum of two (Dekker 1971): for residuals that have to be known beyond rounding.
#pragma once
#include <cmath>

namespace convex_layers {

struct Twice {
    double high = 0, low = 0;

    Twice() = default;
    Twice(double number) : high(number) {}

    // += a b
    void add(double a, double b) {
        const double product = a * b, sum = high + product, part = sum - high;
        low += std::fma(a, b, -product) + ((high - (sum - part)) + (product - part));
        high = sum + low;
        low -= high - sum;
    }
    void add(double a, const Twice& b) {
        add(a, b.high);
        add(a, b.low);
    }
};

}  // namespace convex_layers
