/* One ISA's table: kernels.inc.h once for every compute type. The ISA file defines ISA, VBYTES and how many rows a tile
 * may have: ROWS_1 by one vector and ROWS_2 by two, each as one of the lists below. */
#include "kernels.h"

#define UP_TO_6(X, wide, tn) X(1, wide, tn) X(2, wide, tn) X(3, wide, tn) X(4, wide, tn) X(5, wide, tn) X(6, wide, tn)
#define UP_TO_12(X, wide, tn)                                                                                          \
    UP_TO_6(X, wide, tn)                                                                                               \
    X(7, wide, tn) X(8, wide, tn) X(9, wide, tn) X(10, wide, tn) X(11, wide, tn) X(12, wide, tn)
#define UP_TO_14(X, wide, tn) UP_TO_12(X, wide, tn) X(13, wide, tn) X(14, wide, tn)

#define SLIDING_ROWS(X, wide, tn) X(2, wide, tn) X(3, wide, tn) X(4, wide, tn) X(5, wide, tn) X(6, wide, tn) X(7, wide, tn)

#define KERNELS_H "kernels.inc.h"
#define STORAGE(S) GATHER(S) STORE_ALL(S) SLOPE(S)
#include "types.inc.h"

#define T float
#define TN f32
#include "../winograd/transforms.inc.h"

#define ONE(rows, wide, tn) +1
#define OUTER(rows, wide, tn) [rows] = JOIN(outer_##rows##x##wide, tn, ISA),
#define DEPTHWISE0(rows, wide, tn) [rows] = JOIN(depthwise0_##rows##x##wide, tn, ISA),
#define DEPTHWISE1(rows, wide, tn) [rows] = JOIN(depthwise1_##rows##x##wide, tn, ISA),
#define DEPTHWISE2(rows, wide, tn) [rows] = JOIN(depthwise2_##rows##x##wide, tn, ISA),
#define WIDTHS(name, tn) {0, JOIN(name##x1, tn, ISA), JOIN(name##x2, tn, ISA)}
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .rows = {0, ROWS_1(ONE, 1, tn), ROWS_2(ONE, 2, tn)},                               \
    .outer = {{0}, {ROWS_1(OUTER, 1, tn)}, {ROWS_2(OUTER, 2, tn)}}, .tall = WIDTHS(tall, tn),                            \
    .depthwise = {{{0}, {ROWS_1(DEPTHWISE0, 1, tn)}, {ROWS_2(DEPTHWISE0, 2, tn)}},                                     \
                  {{0}, {SLIDING_ROWS(DEPTHWISE1, 1, tn)}, {SLIDING_ROWS(DEPTHWISE1, 2, tn)}},                         \
                  {{0}, {SLIDING_ROWS(DEPTHWISE2, 1, tn)}, {SLIDING_ROWS(DEPTHWISE2, 2, tn)}}},                        \
    .depthwise_tall = {WIDTHS(tall0, tn), WIDTHS(tall1, tn), WIDTHS(tall2, tn)},                                             \
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
