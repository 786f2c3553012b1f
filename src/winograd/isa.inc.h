/* One ISA's tables: the transforms here, and the tiles of the product from ../gemm. */
#include "kernels.h"

#include "../gemm/isa.inc.h"

#define T float
#define TN f32
#include "transforms.inc.h"

#define TABLE_OF(isa) winograd_kernels_##isa
#define WINOGRAD_TABLE(isa) TABLE_OF(isa)
const winograd_kernels WINOGRAD_TABLE(ISA) = TRANSFORMS;
