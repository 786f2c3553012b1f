/* A bench for the kernels of src/pixels. */
#include "bench.h"

enum { LANES = 16, TAPS = 7, MEETINGS = ROWS + 4, SLOTS = ROWS + 2, LINE = 3 * WIDE * (LANES + 3) + 8 };

static const char *pixel_wrong(const char *isa, const char *what, int type, const char *last, const char *found,
                               double wanted, const tile_args *t, int m)
{
    const char *bias = t->bias + m * sizes[type];
    if (!t->bare)
        wanted = clamped(type == I32 ? (int32_t)((uint32_t)(int32_t)wanted + (uint32_t)*(const int32_t *)bias)
                                     : wanted + get(type, bias),
                         t->low, t->high);
    expect(same(get(type, found), wanted), isa, what, type_names[type], "value", get(type, found), wanted);
    expect(untouched(last, found), isa, what, type_names[type], "wrote between", m, t->rows);
    return found + sizes[type];
}

/* A tile of every kind, or for taps that of an image filter: its meetings are every row of input once. */
static void check_tile(const char *isa, int type, const pixel_kernels *k, int filters, int width, int taps)
{
    BUFFER input[MEETINGS * ROWS][LINE * 8], weights[TAPS * SLOTS * FILTERS * 8], bias[FILTERS * 8];
    BUFFER block[FILTERS * ROWS][LINE * 8 + 2 * ROOM];
    const int size = sizes[type], wide = taps ? k->image_wide : k->wide[width], most = k->rows[filters][width];
    const int rows = taps ? most : between(1, most), count = taps ? rows + taps - 1 : between(0, MEETINGS);
    const int run = taps ? taps : between(1, TAPS), slots = taps ? taps : SLOTS;
    const int next = k->lanes + (taps ? 0 : between(0, 3)), first = between(0, 4), tiles = between(0, 3);
    meeting meetings[MEETINGS];
    ptrdiff_t offset[TAPS];
    const char *rows_of[MEETINGS * ROWS];
    char *out[FILTERS * ROWS];
    for (int q = 0; q < run; q++)
        offset[q] = (taps ? q : between(0, 3)) * size;
    for (int i = 0; i < MEETINGS * ROWS; i++) {
        fill_with(type, input[i], LINE);
        rows_of[i] = input[i];
    }
    fill_with(type, weights, TAPS * SLOTS * FILTERS);
    fill_with(type, bias, FILTERS);
    for (int n = 0; n < count; n++) {
        const int begin = taps ? (n < taps ? 0 : n - taps + 1) : between(0, rows - 1);
        const int end = taps ? (n < rows ? n : rows - 1) : between(begin, rows - 1);
        const int all = !taps && !between(0, 2);
        meetings[n] = (meeting){all ? ALL : begin * ROWS + end, taps ? run : between(0, run),
                                taps  ? n - begin
                                : all ? between(0, SLOTS - 1)
                                      : between(end - begin, SLOTS - 1)};
    }
    for (int i = 0; i < FILTERS * ROWS; i++)
        out[i] = canaries(block[i], sizeof block[i] - 2 * ROOM);
    tile_args t = {rows_of,       meetings, count, offset, weights, slots, out,  rows,
                   between(0, 1), bias,     -20,   30,     first,   tiles, next, wide * next};
    (taps ? k->image[taps] : k->tile[filters][width])(&t);
    for (int m = 0; m < FILTERS; m++)
        for (int r = 0; r < ROWS; r++) {
            const char *last = block[m * ROWS + r];
            for (int v = 0; v < (m < filters && r < rows ? tiles * wide : 0); v++)
                for (int lane = 0; lane < k->lanes; lane++) {
                    const int j = first + v * next + lane;
                    int64_t sum = 0;
                    for (int n = 0, row = 0; n < count; n++) {
                        const int range = meetings[n].range, all = range == ALL, begin = all ? 0 : range / ROWS;
                        const int meets = all || (r >= begin && r <= range % ROWS);
                        for (int q = 0; q < (meets ? meetings[n].taps : 0); q++) {
                            const ptrdiff_t filter = meetings[n].filter - (all ? 0 : r - begin) + q * slots;
                            sum += (int64_t)get(type, rows_of[row + (all ? r : 0)] + offset[q] + j * size) *
                                   (int64_t)get(type, weights + (filter * filters + m) * size);
                        }
                        row += all ? rows : 1;
                    }
                    last = pixel_wrong(isa, taps ? "image" : "tile", type, last, out[m * ROWS + r] + j * size,
                                       type == I32 ? (int32_t)(uint32_t)sum : (double)sum, &t, m);
                }
            expect(untouched(last, block[m * ROWS + r] + sizeof block[0]), isa, taps ? "image" : "tile",
                   type_names[type], "wrote beside row", m, r);
        }
}

static void check_interleave(const char *isa, int type, const pixel_kernels *k)
{
    BUFFER src[40 * 48 * 8], block[40 * 48 * 8 + 2 * ROOM];
    const int size = sizes[type], n = between(0, 40), channels = between(1, between(0, 1) ? 8 : 40);
    const int plane = n + between(0, 8), step = channels + (between(0, 1) ? between(0, 8) : 0);
    fill_with(type, src, channels * plane);
    char *dst = canaries(block, sizeof block - 2 * ROOM);
    k->interleave(dst, step * size, src, plane, n, channels);
    expect_moved(isa, "interleave", type, block, sizeof block, dst, step * size, size, src, n, size, channels,
                 plane * size);
}

static void check_planes(const char *isa, int storage, const pixel_kernels *k)
{
    BUFFER src[2 * 40 * 48 * 8], block[40 * 48 * 8 + 2 * ROOM];
    const int size = sizes[compute_type(storage)], s = sizes[storage], way = between(0, 3);
    const int n = between(0, 40), channels = between(1, between(0, 1) ? 8 : 40), plane = n + between(0, 8);
    /* Rows of a channel, dense pixels, pixels that are parts of wider ones, and elements that lie apart. */
    const ptrdiff_t sj = way == 0 ? (n + between(0, 8)) * s : way < 3 ? s : 2 * s;
    const ptrdiff_t si = way == 0 ? s : channels * sj + (way == 2 ? between(0, 8) * s : 0);
    for (int i = 0; i < 2 * 40 * 48; i++)
        put(storage, src + i * s, between(-99, 99));
    char *dst = canaries(block, sizeof block - 2 * ROOM);
    k->planes[storage](dst, plane, src, n, si, channels, sj);
    expect_moved(isa, "planes", storage, block, sizeof block, dst, plane * size, size, src, channels, sj, n, si);
}

/* A tile of a filter gradient, rows of any alignment, added to what the sums hold; and their lanes' totals. */
static void check_product(const char *isa, int type, const pixel_kernels *k, int rows, int columns)
{
    BUFFER x[PRODUCTS][8 * 16 * 8 + 8 * 8], g[PRODUCTS][8 * 16 * 8 + 8 * 8], totals[PRODUCTS * PRODUCTS * 8];
    BUFFER block[PRODUCTS * (PRODUCTS + 2) * 64 + 2 * ROOM], before[sizeof block];
    const int size = sizes[type], pitch = columns + between(0, 2), vectors = between(0, 8), n = vectors * k->lanes;
    char *sums = canaries(block, sizeof block - 2 * ROOM);
    product_args args = {.vectors = vectors, .sums = sums, .pitch = pitch};
    for (int i = 0; i < PRODUCTS; i++) {
        fill_with(type, x[i], sizeof x[i] / size), fill_with(type, g[i], sizeof g[i] / size);
        args.x[i] = x[i] + between(0, 7) * size, args.g[i] = g[i] + between(0, 7) * size;
    }
    for (int i = 0; i < rows; i++)
        fill_with(type, sums + i * pitch * k->lanes * size, columns * k->lanes);
    memcpy(before, block, sizeof block);
    k->product[rows][columns](&args);
    const char *last = block;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            const ptrdiff_t at = (i * pitch + j) * k->lanes * size;
            double total = 0;
            for (int l = 0; l < k->lanes; l++) {
                double wanted = get(type, before + ROOM + at + l * size);
                for (int p = l; p < n; p += k->lanes) {
                    const double a = get(type, (const char *)args.x[i] + p * size);
                    const double b = get(type, (const char *)args.g[j] + p * size);
                    wanted = type == I32
                                 ? (int32_t)((uint32_t)(int32_t)wanted + (uint32_t)(int32_t)a * (uint32_t)(int32_t)b)
                                 : wanted + a * b;
                }
                expect(same(get(type, sums + at + l * size), wanted), isa, "product", type_names[type], "value",
                       get(type, sums + at + l * size), wanted);
                total = type == I32 ? (int32_t)((uint32_t)(int32_t)total + (uint32_t)(int32_t)wanted) : total + wanted;
            }
            expect(untouched(last, sums + at), isa, "product", type_names[type], "wrote between", i, j);
            last = sums + at + k->lanes * size;
            k->totals(totals, sums + at, 1);
            expect(same(get(type, totals), total), isa, "totals", type_names[type], "value", get(type, totals), total);
        }
    expect(untouched(last, block + sizeof block), isa, "product", type_names[type], "wrote beside", rows, columns);
}

int main(void)
{
    for (int isa = 0; isa < ISAS; isa++) {
        if (!isa_detected(isa))
            continue;
        for (int type = 0; type < COMPUTE_TYPES; type++) {
            const pixel_kernels *k = pixel_kernels_of(isa) + type;
            for (int round = 0; round < 40; round++) {
                for (int filters = 1; filters <= FILTERS; filters++)
                    for (int width = 0; width < WIDTHS; width++)
                        check_tile(isa_names[isa], type, k, filters, width, 0);
                check_tile(isa_names[isa], type, k, 1, WIDTHS - 1, 3);
                check_tile(isa_names[isa], type, k, 1, WIDTHS - 1, 5);
            }
            for (int round = 0; round < 400; round++)
                check_interleave(isa_names[isa], type, k);
            for (int round = 0; round < 20; round++)
                for (int rows = 1; rows <= k->products; rows++)
                    for (int columns = 1; columns <= k->products; columns++)
                        check_product(isa_names[isa], type, k, rows, columns);
            printf("tile image product totals interleave %-4s %s\n", type_names[type], isa_names[isa]);
        }
        for (int storage = 0; storage < DTYPES; storage++) {
            for (int round = 0; round < 400; round++)
                check_planes(isa_names[isa], storage, pixel_kernels_of(isa) + compute_type(storage));
            printf("planes %-4s %s\n", type_names[storage], isa_names[isa]);
        }
    }
    printf("%d wrong\n", failures);
    return failures != 0;
}
