/* A bench for the kernels of src/gemm and src/common/move.inc.h.
 *
 *     kernels time     checks, and prints GFLOP/s of the register tiles */
#include "bench.h"
#include <time.h>

/* ---- register tiles ------------------------------------------------------------------------------------------- */

enum { MAX_RUNS = 5, MAX_RUN = 9, MANY = 330, MAX_COLUMNS = 2 * 16 * 4 };

/* Of a tile's last vector: all, a half or a quarter is stored; with AVX-512 any part. */
static int any_spare(int type, const conv_kernels *k)
{
    const int vector = k->lanes * sizes[type], spare[] = {0, vector / 2, vector / 4 * 3};
    if (vector == 64)
        return between(0, k->lanes - 1) * sizes[type];
    return spare[between(0, k->lanes >= 4 ? 2 : 1)];
}

/* Tiles of more than TILE_WIDE vectors are broad ones, whose blocks of filters lie one after the other or side by side.
 */
static void check_tile(const char *isa, int type, const conv_kernels *k, int depthwise, int wide, int wanted)
{
    const int broad = wide > TILE_WIDE, full = broad ? wanted : k->rows[wide], steps[] = {1, 2, 4, 8, full};
    const int size = sizes[type], columns = wide * k->lanes, apart = broad && between(0, 1);
    const int block_columns = broad ? TILE_WIDE * k->lanes : columns;
    int rows = full;
    for (int i = 4; i >= 0; i--)
        rows = steps[i] >= wanted && steps[i] <= rows ? steps[i] : rows;
    const int runs = between(0, MAX_RUNS), run = depthwise ? 1 : between(1, MAX_RUN), shared = between(0, 1);
    const int ldb = (apart ? block_columns : columns) + between(0, 3), panel = apart ? runs * run * ldb : block_columns;
    const int column = depthwise ? between(0, 5) : 0, width = run + column + columns;
    BUFFER input[MAX_RUNS * TILE_ROWS * (MAX_RUN + 8 + MAX_COLUMNS) * 8], filters[64 * MAX_COLUMNS * 8];
    BUFFER bias[TILE_ROWS * MAX_COLUMNS * 8], block[TILE_ROWS * (MAX_COLUMNS * 8 + 2 * ROOM)], before[sizeof block];
    BUFFER more[TILE_ROWS * MAX_COLUMNS * 8];
    const char *a[MAX_RUNS * TILE_ROWS];
    char *out[TILE_ROWS], *added[TILE_ROWS];
    ptrdiff_t offset[MAX_RUNS];
    const int big = type == I32; /* integers wrap: any will do */
    fill_with(type, input, runs * TILE_ROWS * width);
    fill_with(type, filters, (apart ? columns / block_columns : 1) * runs * run * ldb);
    fill_with(type, bias, TILE_ROWS * columns);
    fill_with(type, more, TILE_ROWS * columns);
    for (int r = 0; r < runs; r++) {
        offset[r] = (ptrdiff_t)(shared ? r * TILE_ROWS * width : between(0, 3)) * size;
        for (int i = 0; i < TILE_ROWS; i++)
            a[r * TILE_ROWS + i] =
                input + (shared ? i * width : (r * TILE_ROWS + i) * width) * size - (shared ? 0 : offset[r]);
    }
    for (int i = 0; i < TILE_ROWS; i++) {
        out[i] = canaries(block + i * (MAX_COLUMNS * 8 + 2 * ROOM), MAX_COLUMNS * 8);
        fill_with(type, out[i], i < rows ? columns : 0);
        added[i] = more + i * columns * size;
    }
    memcpy(before, block, sizeof block);
    tile_args t = {.a = a,
                   .a_step = shared ? 0 : TILE_ROWS,
                   .offset = offset,
                   .runs = runs,
                   .run = run,
                   .column = column,
                   .b = filters,
                   .ldb = ldb,
                   .panel = panel * size,
                   .out = out,
                   .bias = bias,
                   .bias_row = between(0, 1) * columns * size,
                   .added = between(0, 1) ? added : NULL,
                   .clamp = between(0, 1),
                   .low = -20,
                   .high = 30,
                   .accumulate = between(0, 1)};
    if (!t.accumulate)
        t.spare = any_spare(type, k);
    const int stored = columns - t.spare / size;
    (broad ? k->broad[wide / TILE_WIDE] : (depthwise ? k->depthwise : k->gemm)[wide])[wanted](&t);
    for (int i = 0; i < TILE_ROWS; i++) {
        const char *old = before + (out[i] - block);
        for (int j = 0; j < (i < rows ? stored : 0); j++) {
            const char *w = filters + (j / block_columns * panel + j % block_columns) * size;
            int64_t sum = (int64_t)get(type, bias + i * t.bias_row + j * size);
            sum += t.accumulate ? (int64_t)get(type, old + j * size) : 0;
            sum += t.added ? (int64_t)get(type, added[i] + j * size) : 0;
            for (int r = 0; r < runs; r++)
                for (int p = 0; p < run; p++) {
                    const char *x = a[r * t.a_step + i] + offset[r] + (depthwise ? column + j : p) * size;
                    sum += (int64_t)get(type, x) * (int64_t)get(type, w + (r * run + p) * ldb * size);
                }
            double right = big ? (int32_t)(uint32_t)sum : (double)sum, found = get(type, out[i] + j * size);
            if (t.clamp)
                right = clamped(right, -20, 30);
            expect(same(found, right), isa, depthwise ? "depthwise" : "gemm", type_names[type], "value", found, right);
        }
        const char *end = out[i] + (i < rows ? columns : 0) * size;
        expect(i >= rows || !memcmp(out[i] + stored * size, old + stored * size, (columns - stored) * size), isa,
               depthwise ? "depthwise" : "gemm", type_names[type], "stored what is to spare", i, rows);
        expect(untouched(out[i] - ROOM, out[i]) && untouched(end, out[i] + MAX_COLUMNS * 8 + ROOM), isa,
               depthwise ? "depthwise" : "gemm", type_names[type], "wrote beside row", i, rows);
    }
}

/* Rows side by side, and blocks of columns or a few columns: each as the tile of one row computes it. */
static void check_along(const char *isa, int type, const conv_kernels *k, int wide, int narrow)
{
    const int size = sizes[type], columns = wide * k->lanes, full = k->rows[wide], tiles = between(0, 3);
    const int want = between(1, full), some = want > 8 ? full : want > 4 ? 8 : want > 2 ? 4 : want;
    const int rows = narrow ? k->lanes : some < full ? some : full;
    const int many = !narrow && between(0, 7) == 0; /* filters: more than L1 keeps, or as many */
    const int run = narrow ? between(k->lanes, 3 * k->lanes) : many ? between(150, MANY) : between(1, MAX_RUN);
    const int runs = many ? between(1, 2) : between(0, MAX_RUNS), pixel = between(0, 9),
              spare = narrow ? 0 : any_spare(type, k);
    const int blocks = spare || narrow ? 1 : between(1, 3), next = blocks * columns + between(0, 3);
    BUFFER input[(3 * 16 * 9 + MAX_RUNS + MANY) * 8], filters[2 * MANY * MAX_COLUMNS * 8];
    BUFFER block[3 * 16 * (3 * MAX_COLUMNS + 3) * 8 + 2 * ROOM], row[MAX_COLUMNS * 8];
    BUFFER bias[3 * 16 * MAX_COLUMNS * 8], more[3 * 16 * (3 * MAX_COLUMNS + 3) * 8];
    const char *a = input;
    char *start = canaries(block, sizeof block - 2 * ROOM), *out = start, *end = start, *added = more;
    ptrdiff_t offset[MAX_RUNS];
    fill_with(type, input, 3 * 16 * 9 + MAX_RUNS + MANY);
    fill_with(type, filters, blocks * runs * run * columns);
    fill_with(type, bias, 3 * 16 * columns);
    fill_with(type, more, tiles * rows * next);
    for (int r = 0; r < runs; r++)
        offset[r] = between(0, MAX_RUNS) * size;
    tile_args t = {.a = &a,
                   .offset = offset,
                   .runs = runs,
                   .run = run,
                   .b = filters,
                   .ldb = columns,
                   .out = &out,
                   .bias = bias,
                   .bias_row = narrow ? 0 : between(0, 1) * columns * size,
                   .added = narrow || between(0, 1) ? NULL : &added,
                   .clamp = between(0, 1),
                   .low = -20,
                   .high = 30,
                   .spare = spare,
                   .tiles = tiles,
                   .pixel = pixel * size,
                   .out_pixel = next * size,
                   .added_pixel = next * size,
                   .blocks = blocks,
                   .panel = runs * run * columns * size};
    t.ahead = between(0, runs == 1 ? 2 : 1) * (runs == 1 ? 1 : 2);
    offset[0] = t.ahead ? 0 : offset[0];
    const int stored = narrow ? narrow : columns - t.spare / size;
    (narrow ? k->narrow[narrow] : k->along[wide][want])(&t);
    out = row;
    for (int i = 0; i < tiles * rows; i++)
        for (int c = 0; c < blocks; c++) {
            char *stores = start + (i * next + c * columns) * size;
            a = input + i * pixel * size;
            t.b = (char *)filters + c * t.panel;
            t.bias = (char *)bias + (t.bias_row ? i : c) * columns * size;
            added = (char *)more + (i * next + c * columns) * size;
            k->gemm[wide][1](&t);
            expect(!memcmp(stores, row, stored * size), isa, narrow ? "narrow" : "along", type_names[type], "row", i,
                   rows);
            expect(untouched(end, stores), isa, "along", type_names[type], "wrote beside row", i, rows);
            end = stores + stored * size;
        }
    expect(untouched(end, block + sizeof block), isa, "along", type_names[type], "wrote behind", tiles, rows);
}

/* ---- moves ---------------------------------------------------------------------------------------------------- */

static void check_gather(const char *isa, int storage, const conv_kernels *k)
{
    const int size = sizes[compute_type(storage)], s = sizes[storage], ni = between(0, 40), nj = between(0, 40);
    const int dense = between(0, 1), flip = between(0, 1), rows = between(0, 1); /* pixels side by side: transposed */
    const int repeat = rows ? 1 : between(1, 5), wide = nj * repeat, pitch = wide + between(0, 5);
    const ptrdiff_t sj = rows ? (ni + between(0, 3)) * s : dense ? s : (flip ? -1 : 1) * 2 * s;
    const ptrdiff_t si = rows ? s : (nj + 1) * (dense ? s : 2 * s) + 3 * s;
    BUFFER source[64 * 64 * 64], repeated[40 * 200 * 8], block[64 * 256 * 8 + 2 * ROOM];
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (char)draw();
    const char *src = source + (sj < 0 ? -sj * nj : 0);
    char *dst = canaries(block, sizeof block - 2 * ROOM);
    for (int i = 0; i < ni; i++)
        for (int j = 0; j < wide; j++)
            memcpy(repeated + (i * wide + j) * s, src + i * si + j / repeat * sj, s);
    k->gather[storage](dst, pitch, repeat, src, ni, si, nj, sj);
    expect_moved(isa, "gather", storage, block, sizeof block, dst, pitch * size, size, repeated, ni, wide * s, wide, s);
}

static void check_pack(const char *isa, int storage, const conv_kernels *k)
{
    const int type = compute_type(storage), size = sizes[type], s = sizes[storage];
    const int across = between(0, 1), rows = between(0, across ? 40 : 9); /* across: rows side by side, transposed */
    const int columns = between(1, 40), width = columns + between(0, 24);
    const ptrdiff_t sj = across ? 48 * s : between(0, 1) ? s : -2 * s, sk = across ? s : 48 * s;
    BUFFER source[200 * 48 * 8], block[40 * 64 * 8 + 2 * ROOM];
    for (int i = 0; i < 200 * 48; i++)
        put(storage, source + i * s, between(-99, 99));
    char *w = source + 96 * s, *dst = canaries(block, sizeof block - 2 * ROOM);
    const double strange[] = {1, INFINITY, -INFINITY, NAN};
    const int which = type == I32 || !rows ? 0 : between(0, 3);
    if (which)
        put(storage, w + between(0, rows - 1) * sk + between(0, columns - 1) * sj, strange[which]);
    const int finite = k->pack[storage](dst, width, w, rows, sk, columns, sj);
    expect(!finite == !!which, isa, "pack", type_names[storage], "finite", finite, !which);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < width; j++) {
            double right = j < columns ? get(storage, w + i * sk + j * sj) : 0,
                   found = get(type, dst + (i * width + j) * size);
            expect(same(found, right), isa, "pack", type_names[storage], "value", found, right);
        }
    expect(untouched(block, dst) && untouched(dst + rows * width * size, block + sizeof block), isa, "pack",
           type_names[storage], "wrote beside", rows, width);
}

/* The activations as their formulas say, in double. */
static double activate(int activation, double x, double low, double high)
{
    switch (activation) {
    case CLAMP: return clamped(x, low, high);
    case LEAKY_RELU: return x < 0 ? low * x : x;
    case ELU: return x < 0 ? expm1(x) : x;
    case SIGMOID: return 1 / (1 + exp(-x));
    case TANH: return tanh(x);
    case SILU: return x / (1 + exp(-x));
    case GELU: return x * 0.5 * (1 + erf(x * sqrt(0.5)));
    default: return x;
    }
}

static void check_finish(const char *isa, int storage, const conv_kernels *k)
{
    const int type = compute_type(storage), size = sizes[type], s = sizes[storage];
    const int activation = between(NONE, type == I32 ? CLAMP : GELU), rows = between(1, TILE_ROWS);
    const int columns = between(1, 2 * k->lanes), pitch = columns + between(0, 3), step = between(0, 1) ? s : 3 * s;
    BUFFER tile[TILE_ROWS * MAX_COLUMNS * 8], bias[MAX_COLUMNS * 8], added[TILE_ROWS][MAX_COLUMNS * 8];
    BUFFER block[TILE_ROWS][MAX_COLUMNS * 24 + 2 * ROOM];
    char *out[TILE_ROWS], *residual[TILE_ROWS];
    const double scale = activation > LEAKY_RELU ? 8.0 : 1.0;
    for (int i = 0; i < rows * pitch; i++)
        put(type, tile + i * size, between(-60, 60) / scale);
    for (int i = 0; i < columns; i++)
        put(type, bias + i * size, between(-9, 9) / scale);
    for (int i = 0; i < TILE_ROWS; i++) {
        out[i] = canaries(block[i], sizeof block[i] - 2 * ROOM), residual[i] = added[i];
        for (int j = 0; j < columns; j++)
            put(storage, added[i] + j * s, between(-9, 9) / scale);
    }
    const double low = activation == LEAKY_RELU ? 0.25 : -20, high = 30;
    finish_args f = {
        tile,       pitch, rows, columns, out, step, between(0, 1) ? residual : NULL, s, between(0, 1) ? bias : NULL,
        activation, low,   high};
    k->finish[storage](&f);
    for (int i = 0; i < TILE_ROWS; i++) {
        const char *last = out[i];
        for (int j = 0; j < (i < rows ? columns : 0); j++) {
            double x = get(type, tile + (i * pitch + j) * size) + (f.bias ? get(type, bias + j * size) : 0);
            x += f.residual ? get(storage, residual[i] + j * s) : 0;
            char right[8], found[8];
            put(storage, right, activate(activation, x, low, high));
            memcpy(found, out[i] + j * step, (size_t)s);
            const double a = get(storage, found), b = get(storage, right);
            /* a few units of the compute type for the functions, and what that may change in the storage type's
             * rounding */
            const double unit = storage == F64    ? 0x1p-52
                                : storage == F16  ? 0x1p-10
                                : storage == BF16 ? 0x1p-7
                                                  : 0x1p-23;
            const double slack =
                activation <= LEAKY_RELU ? 0 : (s == 2 ? 1 : 8) * unit * fabs(b) + (type == F64 ? 1e-15 : 5e-7);
            expect(fabs(a - b) <= slack, isa, "finish", type_names[storage], "value", a, b);
            expect(untouched(last, out[i] + j * step), isa, "finish", type_names[storage], "wrote between", i, j);
            last = out[i] + j * step + s;
        }
        expect(untouched(block[i], out[i]) && untouched(last, block[i] + sizeof block[i]), isa, "finish",
               type_names[storage], "wrote beside row", i, rows);
    }
}

/* Rows side by side, which are turned, in stretches: what each gives by itself. */
static void check_abreast(const char *isa, int storage, const conv_kernels *k)
{
    enum { ROWS = 48, APART = 56 };
    const int type = compute_type(storage), s = sizes[storage], rows = between(1, ROWS);
    const int columns = between(1, 2 * k->lanes), pitch = columns + between(0, 3);
    BUFFER tile[ROWS * MAX_COLUMNS * 8], bias[MAX_COLUMNS * 8], added[MAX_COLUMNS * APART * 8];
    BUFFER together[MAX_COLUMNS * APART * 8 + 2 * ROOM], alone[MAX_COLUMNS * APART * 8 + 2 * ROOM];
    char *out[ROWS], *one[ROWS], *residual[ROWS];
    for (int i = 0; i < rows * pitch; i++)
        put(type, tile + i * sizes[type], between(-60, 60));
    for (int i = 0; i < columns; i++)
        put(type, bias + i * sizes[type], between(-9, 9));
    for (int i = 0; i < MAX_COLUMNS * APART; i++)
        put(storage, added + i * s, between(-9, 9));
    char *first = canaries(together, sizeof together - 2 * ROOM), *other = canaries(alone, sizeof alone - 2 * ROOM);
    for (int i = 0, at = 0; i < rows; i++, at += between(0, 11) || at - i > 6 ? 1 : 2)
        out[i] = first + at * s, one[i] = other + at * s, residual[i] = added + at * s;
    finish_args f = {tile,
                     pitch,
                     rows,
                     columns,
                     out,
                     APART * s,
                     between(0, 1) ? residual : NULL,
                     APART * s,
                     between(0, 1) ? bias : NULL,
                     between(NONE, CLAMP),
                     -20,
                     30};
    k->finish[storage](&f);
    char *const *const residuals = f.residual;
    for (int i = 0; i < rows; i++) {
        f.rows = 1, f.tile = tile + i * pitch * sizes[type], f.out = one + i;
        f.residual = residuals ? residuals + i : NULL;
        k->finish[storage](&f);
    }
    expect(!memcmp(together, alone, sizeof alone), isa, "finish", type_names[storage], "abreast", rows, columns);
}

/* Every half there is into float32; every half, the midpoints and their neighbours, and random floats back. */
static void check_halves(const char *isa, int storage, const conv_kernels *k)
{
    for (uint32_t u = 0; u < 1u << 16; u++) {
        uint16_t bits = (uint16_t)u, stored;
        float f, tries[5];
        k->gather[storage](&f, 1, 1, (const char *)&bits, 1, 2, 1, 2);
        expect(same(f, get(storage, &bits)), isa, "load", type_names[storage], "value", f, get(storage, &bits));
        bits++;
        const float middle = (float)((f + get(storage, &bits)) / 2);
        uint32_t any = draw();
        tries[0] = f, tries[1] = middle, tries[2] = nextafterf(middle, INFINITY),
        tries[3] = nextafterf(middle, -INFINITY);
        memcpy(&tries[4], &any, 4);
        for (int i = 0; i < 5; i++) {
            char right[8], *out = (char *)&stored;
            finish_args args = {.tile = &tries[i], .pitch = 1, .rows = 1, .columns = 1, .out = &out, .out_step = 2};
            k->finish[storage](&args);
            put(storage, right, tries[i]);
            expect(same(get(storage, &stored), get(storage, right)), isa, "store", type_names[storage], "value",
                   get(storage, &stored), get(storage, right));
        }
    }
}

/* ---- time ----------------------------------------------------------------------------------------------------- */

static double rate(const conv_kernels *k, int wide)
{
    enum { RUN = 256 };
    static double input[TILE_ROWS * RUN], filters[RUN * MAX_COLUMNS], bias[MAX_COLUMNS],
        result[TILE_ROWS * MAX_COLUMNS];
    const char *a[TILE_ROWS];
    char *out[TILE_ROWS];
    ptrdiff_t offset[] = {0};
    for (int i = 0; i < TILE_ROWS; i++)
        a[i] = (const char *)(input + i * RUN), out[i] = (char *)(result + i * MAX_COLUMNS);
    tile_args t = {.a = a,
                   .offset = offset,
                   .runs = 1,
                   .run = RUN,
                   .b = (const char *)filters,
                   .ldb = wide * k->lanes,
                   .out = out,
                   .bias = (const char *)bias};
    double best = 0;
    for (int round = 0; round < 20; round++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (int i = 0; i < 500; i++)
            k->gemm[wide][k->rows[wide]](&t);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double seconds = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
        double flops = 500.0 * 2 * RUN * k->rows[wide] * wide * k->lanes / seconds / 1e9;
        best = flops > best ? flops : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    for (int isa = 0; isa < ISAS; isa++) {
        if (!isa_detected(isa))
            continue;
        for (int type = 0; type < COMPUTE_TYPES; type++) {
            const conv_kernels *k = conv_kernels_of(isa) + type;
            for (int depthwise = 0; depthwise < 2; depthwise++)
                for (int wide = 1; wide <= TILE_WIDE; wide++)
                    for (int wanted = 1; wanted <= k->rows[wide]; wanted++)
                        for (int round = 0; round < 40; round++)
                            check_tile(isa_names[isa], type, k, depthwise, wide, wanted);
            for (int round = 0; round < 120; round++)
                check_tile(isa_names[isa], type, k, 0, round % 3 ? 4 : TILE_BROAD, 1 + round % 3 / 2);
            const int narrow = k->lanes < NARROW ? k->lanes : NARROW;
            for (int round = 0; round < 400; round++) {
                check_along(isa_names[isa], type, k, 1 + round % 2, 0);
                check_along(isa_names[isa], type, k, 1, 1 + round % narrow);
            }
            printf("gemm depthwise along narrow %-4s %s", type_names[type], isa_names[isa]);
            for (int wide = 1; argc > 1 && !strcmp(argv[1], "time") && wide <= TILE_WIDE; wide++)
                printf("   %dx%d: %.1f GFLOP/s", k->rows[wide], wide * k->lanes, rate(k, wide));
            printf("\n");
        }
        for (int storage = 0; storage < DTYPES; storage++) {
            const conv_kernels *k = conv_kernels_of(isa) + compute_type(storage);
            for (int round = 0; round < 400; round++) {
                check_gather(isa_names[isa], storage, k);
                check_pack(isa_names[isa], storage, k);
                check_finish(isa_names[isa], storage, k);
                check_abreast(isa_names[isa], storage, k);
            }
            if (sizes[storage] == 2)
                check_halves(isa_names[isa], storage, k);
            printf("gather pack finish %-4s %s\n", type_names[storage], isa_names[isa]);
        }
    }
    printf("%d wrong\n", failures);
    return failures != 0;
}
