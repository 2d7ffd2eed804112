// A constant-product swap and a lending market that prices collateral from a swap's vaults: the smallest
// programs with which price manipulation and account confusion can happen. Compiled by `program.py`.
//
// Instruction data: 8 bytes that name the instruction, then little-endian u64 arguments. Accounts of
//   open    [state w s, authority, vault a, vault b, price a, price b]  (bump, checked)
//   swap    [state, authority, user s, user in w, user out w, vault in w, vault out w, token]
//   borrow  [state, authority, user s, user collateral w, user loan w, vault a w, vault b w, token,
//            position w, price a, price b]                              (collateral in, loan out)
//   repay   the same                                                    (loan in, collateral out)
// A state account holds: 1, bump, checked, five zero bytes, vault a, vault b, price a, price b (32 bytes each).
// A market opened with checked = 0 does not look whether the price accounts are its own: the flaw that one
// attack family uses. A position holds: 1, seven zero bytes, owner, state, collateral, loan.

typedef unsigned long long u64;
typedef unsigned char u8;
#define ALWAYS static inline __attribute__((always_inline))

// The number stands for a syscall, by which `program.py` replaces it.
static u64 (*const invoke)(const void *, const void *, u64, const void *, u64) = (void *)1;

typedef struct { u8 *key; u64 *lamports; u64 size; u8 *data; u8 *owner; u64 epoch; u8 signs, writes, runs; } Account;
typedef struct { u8 *key; u8 writes, signs; } Meta;
typedef struct { u8 *program; Meta *metas; u64 count; u8 *data; u64 size; } Call;
typedef struct { u8 *at; u64 size; } Seed;
typedef struct { Seed *seeds; u64 count; } Seeds;

enum { STATE_SIZE = 136, POSITION_SIZE = 88, MOST = 12, AMOUNT = 64 };
enum { BAD_DATA = 6000, BAD_ACCOUNT, TOO_LITTLE, UNDER_WATER, NOT_SIGNED };

ALWAYS u64 word(const u8 *at) { return *(const u64 *)at; }
ALWAYS int same(const u8 *a, const u8 *b) {
  return word(a) == word(b) && word(a + 8) == word(b + 8) && word(a + 16) == word(b + 16) &&
         word(a + 24) == word(b + 24);
}
ALWAYS void copy(u8 *to, const u8 *from) {
  for (int i = 0; i < 4; i++) ((u64 *)to)[i] = ((const u64 *)from)[i];
}

// a * b / c, or the largest number where that does not fit: schoolbook, as there is no 128-bit division here.
ALWAYS u64 share(u64 a, u64 b, u64 c) {
  u64 al = a & 0xffffffff, ah = a >> 32, bl = b & 0xffffffff, bh = b >> 32;
  u64 low = al * bl, m1 = al * bh, m2 = ah * bl;
  u64 mid = (low >> 32) + (m1 & 0xffffffff) + (m2 & 0xffffffff);
  u64 high = ah * bh + (m1 >> 32) + (m2 >> 32) + (mid >> 32);
  low = (low & 0xffffffff) | (mid << 32);
  if (high >= c) return ~0ull;
  u64 quotient = 0;
#pragma clang loop unroll(disable)
  for (int i = 0; i < 64; i++) {
    u64 carry = high >> 63;
    high = (high << 1) | (low >> 63);
    low <<= 1;
    quotient <<= 1;
    if (carry || high >= c) { high -= c; quotient |= 1; }
  }
  return quotient;
}

ALWAYS u64 move(Account *all, u64 count, int from, int to, int by, int token, u64 amount, Seeds *seeds) {
  u8 data[16];
  data[0] = 3;
  for (int i = 0; i < 8; i++) data[1 + i] = (u8)(amount >> (8 * i));
  Meta metas[3] = {{all[from].key, 1, 0}, {all[to].key, 1, 0}, {all[by].key, 0, 1}};
  Call call = {all[token].key, metas, 3, data, 9};
  return invoke(&call, all, count, seeds, seeds ? 1 : 0);
}

u64 entrypoint(u8 *input) {
  Account all[MOST];
  u64 count = word(input);
  if (count > MOST) return BAD_ACCOUNT;
  u8 *at = input + 8;
#pragma clang loop unroll(disable)
  for (u64 i = 0; i < count; i++) {
    if (*at != 0xff) { all[i] = all[*at]; at += 8; continue; }
    all[i].signs = at[1]; all[i].writes = at[2]; all[i].runs = at[3];
    all[i].key = at + 8; all[i].owner = at + 40; all[i].lamports = (u64 *)(at + 72);
    all[i].size = word(at + 80); all[i].data = at + 88;
    at += 88 + all[i].size + 10240;
    at = (u8 *)(((u64)at + 7) & ~7ull);
    all[i].epoch = word(at);
    at += 8;
  }
  u64 size = word(at);
  u8 *data = at + 8, *program = data + size;
  if (size < 24 || count < 6 || !same(all[0].owner, program) || all[0].size < STATE_SIZE) return BAD_DATA;
  u8 *state = all[0].data;
  u64 first = word(data + 8), second = word(data + 16);

  if (data[0] == 0) {  // open
    if (state[0] || !all[0].signs) return NOT_SIGNED;
    state[0] = 1; state[1] = (u8)first; state[2] = (u8)second;
    for (int i = 0; i < 4; i++) copy(state + 8 + 32 * i, all[2 + i].key);
    return 0;
  }

  if (!state[0] || count < 8 || !all[2].signs) return NOT_SIGNED;
  Seed parts[2] = {{all[0].key, 32}, {state + 1, 1}};
  Seeds seeds = {parts, 2};
  u8 *vault_a = state + 8, *vault_b = state + 40;

  if (data[0] == 1) {  // swap
    int forward = same(all[5].key, vault_a) && same(all[6].key, vault_b);
    int back = same(all[5].key, vault_b) && same(all[6].key, vault_a);
    if (!forward && !back) return BAD_ACCOUNT;
    u64 in = word(all[5].data + AMOUNT), out = word(all[6].data + AMOUNT);
    u64 paid = first - first / 400;  // a fee of 0.25 %
    u64 got = share(out, paid, in + paid);
    if (!got || got < second || got >= out) return TOO_LITTLE;
    u64 failed = move(all, count, 3, 5, 2, 7, first, 0);
    return failed ? failed : move(all, count, 6, 4, 1, 7, got, &seeds);
  }

  if (count < 11 || !same(all[8].owner, program) || all[8].size < POSITION_SIZE) return BAD_ACCOUNT;
  if (!same(all[5].key, vault_a) || !same(all[6].key, vault_b)) return BAD_ACCOUNT;
  if (state[2] && (!same(all[9].key, state + 72) || !same(all[10].key, state + 104))) return BAD_ACCOUNT;
  u8 *position = all[8].data;
  if (!position[0]) {
    position[0] = 1;
    copy(position + 8, all[2].key);
    copy(position + 40, all[0].key);
  }
  if (!same(position + 8, all[2].key) || !same(position + 40, all[0].key)) return BAD_ACCOUNT;
  u64 *collateral = (u64 *)(position + 72), *loan = (u64 *)(position + 80);
  u64 failed = 0;
  if (data[0] == 2) {  // borrow
    *collateral += first;
    *loan += second;
    if (first) failed = move(all, count, 3, 5, 2, 7, first, 0);
  } else {  // repay
    if (first > *loan || second > *collateral) return TOO_LITTLE;
    *loan -= first;
    *collateral -= second;
    if (first) failed = move(all, count, 4, 6, 2, 7, first, 0);
  }
  if (failed) return failed;
  u64 worth = share(*collateral, word(all[10].data + AMOUNT), word(all[9].data + AMOUNT));
  if (*loan > worth / 4 * 3) return UNDER_WATER;
  if (!second) return 0;
  if (data[0] == 2) return move(all, count, 6, 4, 1, 7, second, &seeds);
  return move(all, count, 5, 3, 1, 7, second, &seeds);
}
