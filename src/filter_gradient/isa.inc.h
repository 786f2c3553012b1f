/* One ISA's table: kernels.inc.h once for every compute type. */
#include "kernels.h"

#define UP_TO_6(X, wide, tn) X(1, wide, tn) X(2, wide, tn) X(3, wide, tn) X(4, wide, tn) X(5, wide, tn) X(6, wide, tn)
#define UP_TO_12(X, wide, tn)                                                                                          \
    UP_TO_6(X, wide, tn)                                                                                               \
    X(7, wide, tn) X(8, wide, tn) X(9, wide, tn) X(10, wide, tn) X(11, wide, tn) X(12, wide, tn)
/* The rows that a tile of one vector may have, and of two. */
#if REGISTERS == 32
#define ROWS_1(X, wide, tn) UP_TO_12(X, wide, tn) X(13, wide, tn) X(14, wide, tn)
#define ROWS_2 ROWS_1
#else
#define ROWS_1 UP_TO_12
#define ROWS_2 UP_TO_6
#endif

/* Rows of taps that are one tile, and taps of each; strides, rows and taps of which inputs are shared. */
#define FOLDED_2(X, wide, tn) X(2, 3, wide, tn) X(2, 4, wide, tn) X(2, 5, wide, tn) X(2, 6, wide, tn) X(2, 7, wide, tn)
#define FOLDED_3(X, wide, tn) X(3, 3, wide, tn) X(3, 4, wide, tn)
#define SLIDING_TAPS(X, s, wide, tn)                                                                                   \
    X(s, 1, 2, wide, tn) X(s, 1, 3, wide, tn) X(s, 1, 4, wide, tn) X(s, 1, 5, wide, tn) X(s, 1, 6, wide, tn)
#define SLIDING_TILES(X, wide, tn)                                                                                     \
    SLIDING_TAPS(X, 1, wide, tn)                                                                                       \
    X(1, 1, 7, wide, tn)                                                                                               \
    X(1, 3, 3, wide, tn) SLIDING_TAPS(X, 2, wide, tn) X(2, 1, 7, wide, tn) X(2, 3, 3, wide, tn) X(0, 3, 3, wide, tn)

#define KERNELS_H "kernels.inc.h"
#define STORAGE(S) GATHER(S) STORE_ALL(S) SLOPE(S)
#include "types.inc.h"

#define T float
#define TN f32
#include "../winograd/transforms.inc.h"

#define ONE(rows, wide, tn) +1
#define OUTER(rows, wide, tn) [rows] = JOIN(outer_##rows##x##wide, tn, ISA),
#define FOLDED(rows, wide, tn) [rows] = JOIN(folded1_##rows##x##wide, tn, ISA),
#define HIGHER(high, taps, wide, tn) [taps] = JOIN(folded##high##_##taps##x##wide, tn, ISA),
#define DEPTHWISE(rows, wide, tn) [0][1][wide][rows] = JOIN(depthwise0_1_##rows##x##wide, tn, ISA),
#define SLIDING(stride, high, taps, wide, tn)                                                                          \
    [stride][high][wide][taps] = JOIN(depthwise##stride##_##high##_##taps##x##wide, tn, ISA),
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .rows = {0, ROWS_1(ONE, 1, tn), ROWS_2(ONE, 2, tn)},                               \
    .high = {1, 1, 1, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1},                                                             \
    .outer = {{0}, {ROWS_1(OUTER, 1, tn)}, {ROWS_2(OUTER, 2, tn)}},                                                    \
    .folded = {{{0}},                                                                                                  \
               {{0}, {ROWS_1(FOLDED, 1, tn)}, {ROWS_2(FOLDED, 2, tn)}},                                                \
               {{0}, {FOLDED_2(HIGHER, 1, tn)}, {FOLDED_2(HIGHER, 2, tn)}},                                            \
               {{0}, {FOLDED_3(HIGHER, 1, tn)}, {FOLDED_3(HIGHER, 2, tn)}}},                                           \
    .depthwise = {ROWS_1(DEPTHWISE, 1, tn) ROWS_2(DEPTHWISE, 2, tn) SLIDING_TILES(SLIDING, 1, tn)                      \
                      SLIDING_TILES(SLIDING, 2, tn)},                                                                  \
    .add = JOIN(add, tn, ISA), .fill = JOIN(fill, tn, ISA)
#define OF(tn, dtype, S)                                                                                               \
    .gather[dtype] = JOIN(gather_##S, tn, ISA), .store[dtype] = JOIN(store_##S, tn, ISA),                              \
    .slope[dtype] = JOIN(slope_##S, tn, ISA)

TABLE(gradient_kernels) = {
    [F32] = {KERNELS(f32, float), OF(f32, F32, float), OF(f32, F16, half), OF(f32, BF16, bfloat),
             .winograd = TRANSFORMS},
    [F64] = {KERNELS(f64, double), OF(f64, F64, double)},
    [I32] = {KERNELS(i32, int32_t), OF(i32, I32, int32_t)},
};
