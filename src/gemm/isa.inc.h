/* One ISA's table: kernels.inc.h once for every compute type. The ISA file defines ISA, VBYTES and the largest tiles,
 * ROWS_1 pixels by one vector and ROWS_2 pixels by two. */
#include "kernels.h"
#include <limits.h>
#include <math.h>

#define T float
#define TN f32
#include "kernels.inc.h"
#include "storage.inc.h"
/* e^x for x <= 0, within 2 ulp: 2^n times a polynomial of the rest; without branches, so that loops vectorise. */
INLINE float NAME(exp_negative)(float x)
{
    x = x < -87.0f ? -87.0f : x;
    float n = x * 1.44269504f + 0x1.8p23f;
    uint32_t scale = (bits_of_float(n) << 23) + 0x3f800000;
    n -= 0x1.8p23f;
    float r = x - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1 + r * (1 + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    return float_of_bits(scale) * p;
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
#include "kernels.inc.h"
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
#include "kernels.inc.h"
STORAGE(int32_t)
#undef T
#undef TN

#define WIDTH(kind, wide, tn)                                                                                    \
    {                                                                                                                  \
        [1] = JOIN(kind##_1x##wide, tn, ISA), [2] = JOIN(kind##_2x##wide, tn, ISA),                                    \
        [3 ... 4] = JOIN(kind##_4x##wide, tn, ISA), [5 ... 8] = JOIN(kind##_8x##wide, tn, ISA),                        \
        [9 ... TILE_ROWS] = JOIN(kind##_fullx##wide, tn, ISA)                                                          \
    }
#define TILES_OF(kind, tn) {{0}, WIDTH(kind, 1, tn), WIDTH(kind, 2, tn)}
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .rows = {0, ROWS_1, ROWS_2}, .gemm = TILES_OF(gemm, tn),                           \
    .depthwise = TILES_OF(depthwise, tn), .fill = JOIN(fill, tn, ISA)
#define OF(f, tn, S) JOIN(f##_##S, tn, ISA)
#define TABLE_(isa) conv_kernels_##isa
#define TABLE(isa) TABLE_(isa)

const conv_kernels TABLE(ISA)[COMPUTE_TYPES] = {
    [F32] = {KERNELS(f32, float),
             .gather = {[F32] = OF(gather, f32, float), [F16] = OF(gather, f32, half), [BF16] = OF(gather, f32, bfloat)},
             .pack = {[F32] = OF(pack, f32, float), [F16] = OF(pack, f32, half), [BF16] = OF(pack, f32, bfloat)},
             .finish = {[F32] = OF(finish, f32, float), [F16] = OF(finish, f32, half), [BF16] = OF(finish, f32, bfloat)}},
    [F64] = {KERNELS(f64, double),
             .gather = {[F64] = OF(gather, f64, double)},
             .pack = {[F64] = OF(pack, f64, double)},
             .finish = {[F64] = OF(finish, f64, double)}},
    [I32] = {KERNELS(i32, int32_t),
             .gather = {[I32] = OF(gather, i32, int32_t)},
             .pack = {[I32] = OF(pack, i32, int32_t)},
             .finish = {[I32] = OF(finish, i32, int32_t)}},
};
