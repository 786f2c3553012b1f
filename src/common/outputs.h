/* Memory for large outputs. Blocks that are given back are kept for the next outputs: a system's fresh pages are
 * cleared when they are first touched, which takes as long as a fast layer takes to fill them. Up to KEPT_BYTES stay
 * ours; of blocks from LENT_LEAST on that are more than that, up to LENT_BYTES, the system may take the pages whenever
 * it needs some. */
#pragma once
#include <stddef.h>

#define KEPT_BYTES ((size_t)64 << 20)
#define KEPT_LEAST ((size_t)1 << 17)
#define LENT_BYTES ((size_t)1 << 30)
#define LENT_LEAST ((size_t)1 << 24)

void *output_malloc(void *context, size_t size);
void *output_calloc(void *context, size_t count, size_t size);
void *output_realloc(void *context, void *block, size_t size);
void output_free(void *context, void *block, size_t size);
