/* One ISA's table: kernels.inc.h once for every compute type. */
#include "kernels.h"

#define STORAGE(S)
#define KERNELS_H "kernels.inc.h"
#include "types.inc.h"

#define PIXELS(windows, tn)                                                                                            \
    {[1] = JOIN(slide_##windows##_1, tn, ISA),                                                                         \
     [2] = JOIN(slide_##windows##_2, tn, ISA),                                                                         \
     [4] = JOIN(slide_##windows##_4, tn, ISA),                                                                         \
     [7] = JOIN(slide_##windows##_7, tn, ISA)}
#define STRIDES(K, tn) {PIXELS(K##_1, tn), PIXELS(K##_2, tn)}
#define ANY(tn) .any = PIXELS(0_0, tn), .arrange = JOIN(arrange, tn, ISA)
#define WINDOWS(tn) .slide = {STRIDES(3, tn), STRIDES(5, tn), STRIDES(7, tn)}, ANY(tn)

TABLE(depthwise_kernels) = {[F32] = {WINDOWS(f32)}, [F64] = {WINDOWS(f64)}, [I32] = {ANY(i32)}};
