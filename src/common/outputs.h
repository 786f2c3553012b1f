/* Memory for large outputs. Blocks that are given back are kept for the next outputs, up to KEPT_BYTES in all: a
 * system's fresh pages are cleared when they are first touched, which takes as long as a fast layer takes to fill them.
 */
#pragma once
#include <stddef.h>

#define KEPT_BYTES ((size_t)64 << 20)
#define KEPT_LEAST ((size_t)1 << 17)

void *output_malloc(void *context, size_t size);
void *output_calloc(void *context, size_t count, size_t size);
void *output_realloc(void *context, void *block, size_t size);
void output_free(void *context, void *block, size_t size);
