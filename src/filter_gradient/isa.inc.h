/* One ISA's table: kernels.inc.h once for every compute type. The ISA file defines ISA, VBYTES and how many rows a tile
 * may have: ROWS_1 by one vector and ROWS_2 by two, each as one of the lists below. */
#include "kernels.h"
#include <math.h>

#define UP_TO_6(X, wide) X(1, wide) X(2, wide) X(3, wide) X(4, wide) X(5, wide) X(6, wide)
#define UP_TO_12(X, wide) UP_TO_6(X, wide) X(7, wide) X(8, wide) X(9, wide) X(10, wide) X(11, wide) X(12, wide)
#define UP_TO_14(X, wide) UP_TO_12(X, wide) X(13, wide) X(14, wide)

#define T float
#define BOUND float
#define TN f32
#define EXP(x) expf(x)
#define ERF(x) erff(x)
#include "kernels.inc.h"
#include "../winograd/transforms.inc.h"
STORED(float)
STORED(half)
STORED(bfloat)
#undef T
#undef TN
#undef EXP
#undef ERF

#undef BOUND
#define T double
#define BOUND double
#define TN f64
#define EXP(x) exp(x)
#define ERF(x) erf(x)
#include "kernels.inc.h"
STORED(double)
#undef T
#undef TN
#undef EXP
#undef ERF

/* Integers know only the activations that stay integers; Python refuses the others. */
#define T int32_t
#define TN i32
#define EXP(x) (x)
#define ERF(x) (x)
#include "kernels.inc.h"
STORED(int32_t)

#define ONE(rows, wide) +1
#define OUTER_f32(rows, wide) [rows] = JOIN(outer_##rows##x##wide, f32, ISA),
#define OUTER_f64(rows, wide) [rows] = JOIN(outer_##rows##x##wide, f64, ISA),
#define OUTER_i32(rows, wide) [rows] = JOIN(outer_##rows##x##wide, i32, ISA),
#define DEPTHWISE_f32(rows, wide) [rows] = JOIN(depthwise_##rows##x##wide, f32, ISA),
#define DEPTHWISE_f64(rows, wide) [rows] = JOIN(depthwise_##rows##x##wide, f64, ISA),
#define DEPTHWISE_i32(rows, wide) [rows] = JOIN(depthwise_##rows##x##wide, i32, ISA),
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .rows = {0, ROWS_1(ONE, 1), ROWS_2(ONE, 2)},                                       \
    .outer = {{0}, {ROWS_1(OUTER_##tn, 1)}, {ROWS_2(OUTER_##tn, 2)}},                                                  \
    .depthwise = {{0}, {ROWS_1(DEPTHWISE_##tn, 1)}, {ROWS_2(DEPTHWISE_##tn, 2)}},                                      \
    .tall = {{0, JOIN(tall_0x1, tn, ISA), JOIN(tall_0x2, tn, ISA)},                                                    \
             {0, JOIN(tall_1x1, tn, ISA), JOIN(tall_1x2, tn, ISA)}},                                                   \
    .add = JOIN(add, tn, ISA), .fill = JOIN(fill, tn, ISA)
#define OF(tn, dtype, S)                                                                                               \
    .gather[dtype] = JOIN(gather_##S, tn, ISA), .store[dtype] = JOIN(store_##S, tn, ISA),                              \
    .slope[dtype] = JOIN(slope_##S, tn, ISA)
#define TABLE_(isa) gradient_kernels_##isa
#define TABLE(isa) TABLE_(isa)

const gradient_kernels TABLE(ISA)[COMPUTE_TYPES] = {
    [F32] = {KERNELS(f32, float), OF(f32, F32, float), OF(f32, F16, half), OF(f32, BF16, bfloat),
             .winograd = TRANSFORMS},
    [F64] = {KERNELS(f64, double), OF(f64, F64, double)},
    [I32] = {KERNELS(i32, int32_t), OF(i32, I32, int32_t)},
};
