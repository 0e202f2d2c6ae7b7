// Writes another format number into a store, as a later version of the broker would: store_format DIRECTORY NUMBER; or
// another number of the default family: store_format DIRECTORY NUMBER NAME. The record of a number is docs/formats.md's:
// eight bytes, the highest first, under its name in the default family.
#include <rocksdb/c.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(char* error) {
  if (error == NULL) return;
  fprintf(stderr, "store_format: %s\n", error);
  exit(1);
}

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) return 2;
  const char* name = argc == 4 ? argv[3] : "format";
  char* error = NULL;
  rocksdb_options_t* options = rocksdb_options_create();
  size_t count = 0;
  char** names = rocksdb_list_column_families(options, argv[1], &count, &error);
  check(error);
  const rocksdb_options_t** each = malloc(count * sizeof *each);
  rocksdb_column_family_handle_t** families = malloc(count * sizeof *families);
  for (size_t i = 0; i < count; ++i) each[i] = options;
  rocksdb_t* db = rocksdb_open_column_families(options, argv[1], (int)count, (const char* const*)names, each, families, &error);
  check(error);
  rocksdb_writeoptions_t* how = rocksdb_writeoptions_create();
  const uint64_t number = strtoull(argv[2], NULL, 10);
  unsigned char record[8];
  for (int i = 0; i < 8; ++i) record[i] = (unsigned char)(number >> (8 * (7 - i)));
  rocksdb_put(db, how, name, strlen(name), (const char*)record, sizeof record, &error);
  check(error);
  for (size_t i = 0; i < count; ++i) rocksdb_column_family_handle_destroy(families[i]);
  rocksdb_close(db);
  return 0;
}
