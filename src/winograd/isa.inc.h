/* One ISA's table. */
#include "kernels.h"

#define T float
#define TN f32
#include "vector.h"
#include "transforms.inc.h"

TABLE(winograd_kernels) = {[F32] = TRANSFORMS};
