/* move.inc.h and KERNELS_H, an .inc.h of kernels for one compute type T, once for every compute type: the body of
 * every ISA file. Defines what the ends of tiles need of mathematics on the way. */
#include <math.h>

#define T float
#define TN f32
#include "vector.h"
#include "move.inc.h"
#include KERNELS_H
/* e^x for x <= 0, within 2 ulp: 2^n times a polynomial of the rest, 2^n in two factors because it may be subnormal;
 * without branches, so that loops vectorise. */
INLINE float NAME(exp_negative)(float x)
{
    x = x < -104.0f ? -104.0f : x;
    float n = x * 1.44269504f + 0x1.8p23f;
    int32_t whole = (int32_t)(bits_of_float(n) - bits_of_float(0x1.8p23f)), half_of = whole >> 1;
    n -= 0x1.8p23f;
    float r = x - n * 0.693145752f - n * 1.42860677e-6f;
    float p =
        1 + r * (1 + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    return p * float_of_bits((uint32_t)(half_of + 127) << 23) * float_of_bits((uint32_t)(whole - half_of + 127) << 23);
}
INLINE float NAME(sigmoid)(float x)
{
    float e = NAME(exp_negative)(x < 0 ? x : -x);
    return (x < 0 ? e : 1) / (1 + e);
}
#define EXPM1(x) expm1f(x)
#define TANH_OF(x) tanhf(x)
#define ERF(x) erff(x)
#define SIGMOID_OF(x) NAME(sigmoid)(x)
STORAGE(float)
STORAGE(half)
STORAGE(bfloat)
#undef T
#undef TN
#undef EXPM1
#undef TANH_OF
#undef ERF
#undef SIGMOID_OF

#define EXPM1(x) expm1(x)
#define TANH_OF(x) tanh(x)
#define ERF(x) erf(x)
#define SIGMOID_OF(x) (1 / (1 + exp(-(x))))
#define T double
#define TN f64
#include "vector.h"
#include "move.inc.h"
#include KERNELS_H
STORAGE(double)
#undef T
#undef TN

/* Integers know only the activations that stay integers; Python refuses the others. */
#define T int32_t
#define TN i32
#undef EXPM1
#undef TANH_OF
#undef ERF
#undef SIGMOID_OF
#define EXPM1(x) (x)
#define TANH_OF(x) (x)
#define ERF(x) (x)
#define SIGMOID_OF(x) (x)
#include "vector.h"
#include "move.inc.h"
#include KERNELS_H
STORAGE(int32_t)
#undef T
#undef TN
