/* One ISA's tables: the sliding windows here, and what ../gemm has. The ISA file also says how many SLIDE_REGISTERS
 * there are, 16 or 32. */
#include "kernels.h"

#define KERNELS_H "../depthwise/kernels.inc.h"
#include "../gemm/isa.inc.h"

#define PIXELS(windows, tn)                                                                                            \
    {[1] = JOIN(slide_##windows##_1, tn, ISA),                                                                         \
     [2] = JOIN(slide_##windows##_2, tn, ISA),                                                                         \
     [4] = JOIN(slide_##windows##_4, tn, ISA),                                                                         \
     [7] = JOIN(slide_##windows##_7, tn, ISA)}
#define STRIDES(K, tn) {PIXELS(K##_1, tn), PIXELS(K##_2, tn)}
#define ANY(tn) .any = PIXELS(any, tn), .arrange = JOIN(arrange, tn, ISA)
#define WINDOWS(tn) .slide = {STRIDES(3, tn), STRIDES(5, tn), STRIDES(7, tn)}, ANY(tn)
#define DEPTHWISE_TABLE_(isa) depthwise_kernels_##isa
#define DEPTHWISE_TABLE(isa) DEPTHWISE_TABLE_(isa)
const depthwise_kernels DEPTHWISE_TABLE(ISA)[COMPUTE_TYPES] = {
    [F32] = {WINDOWS(f32)}, [F64] = {WINDOWS(f64)}, [I32] = {ANY(i32)}};
