/* One ISA's table: kernels.inc.h once for every compute type. The ISA file defines ISA and VBYTES. */
#include <limits.h>
#include <math.h>
#include "kernels.h"

#define T float
#define TN f32
#define LEAST (-INFINITY)
#define IS_NAN(x) ((x) != (x))
#include "kernels.inc.h"
#include "lrn.inc.h"
GATHER(float)
GATHER(half)
GATHER(bfloat)
SCATTER(float)
SCATTER(half)
SCATTER(bfloat)
#undef T
#undef TN

#define T double
#define TN f64
#include "kernels.inc.h"
#include "lrn.inc.h"
GATHER(double)
SCATTER(double)
#undef T
#undef TN
#undef LEAST
#undef IS_NAN

#define T int32_t
#define TN i32
#define LEAST INT32_MIN
#define IS_NAN(x) ((VM)(VI){0})
#include "kernels.inc.h"
GATHER(int32_t)
SCATTER(int32_t)

#define OF(f, tn) JOIN(f, tn, ISA)
#define EVERY(reduction, tn) {OF(reduction##_ANY, tn), OF(reduction##_ADJACENT, tn), OF(reduction##_ALTERNATE, tn)}
#define KERNELS(tn, type, lowest)                                                                                      \
    .lanes = VBYTES / sizeof(type), .least = (lowest),                                                                 \
    .window = {EVERY(MAXIMUM, tn), EVERY(TOTAL, tn), EVERY(FIRST, tn), EVERY(SUMMIT, tn)},                             \
    .rows = {OF(rows_MAXIMUM, tn), OF(rows_TOTAL, tn)}, .route = {OF(route, tn), OF(route_weighted, tn)},              \
    .route_pairs = OF(route_pairs, tn), .split = OF(split, tn), .merge = OF(merge, tn), .fill = OF(fill, tn),          \
    .tally = OF(tally, tn), .positions = OF(positions, tn)
#define TABLE_(isa) window_kernels_##isa
#define TABLE(isa) TABLE_(isa)

const window_kernels TABLE(ISA)[COMPUTE_TYPES] = {
    [F32] = {KERNELS(f32, float, -INFINITY), .lrn = OF(lrn, f32),
             .gather = {[F32] = OF(gather_float, f32), [F16] = OF(gather_half, f32), [BF16] = OF(gather_bfloat, f32)},
             .scatter = {[F32] = OF(scatter_float, f32),
                         [F16] = OF(scatter_half, f32),
                         [BF16] = OF(scatter_bfloat, f32)}},
    [F64] = {KERNELS(f64, double, -INFINITY), .lrn = OF(lrn, f64), .gather = {[F64] = OF(gather_double, f64)},
             .scatter = {[F64] = OF(scatter_double, f64)}},
    [I32] = {KERNELS(i32, int32_t, INT32_MIN), .gather = {[I32] = OF(gather_int32_t, i32)},
             .scatter = {[I32] = OF(scatter_int32_t, i32)}},
};
