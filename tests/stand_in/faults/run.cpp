// Runs a kernel of faults.cu on the stand-in and prints the bits of what it leaves.
//
//   run LIBRARY KERNEL
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *library;
template <class... Given> static void ask(const char *name, Given... given) {
  auto *function = reinterpret_cast<int (*)(Given...)>(dlsym(library, name));
  const int code = function ? function(given...) : -1;
  if (code) { fprintf(stderr, "%s: %d\n", name, code); exit(3); }
}

int main(int count, char **words) {
  if (count != 3 || !(library = dlopen(words[1], RTLD_NOW))) { fprintf(stderr, "usage: run LIBRARY KERNEL\n"); return 2; }
  int device = 0, n = 128;
  void *context, *module, *function;
  uint64_t x, y;
  float numbers[128];
  for (int i = 0; i < n; i++) numbers[i] = static_cast<float>(i + 1);
  ask("cuInit", 0u);
  ask("cuDevicePrimaryCtxRetain", &context, device);
  ask("cuCtxSetCurrent", context);
  ask("cuModuleLoadData", &module, static_cast<const void *>("kernels"));
  ask("cuModuleGetFunction", &function, module, static_cast<const char *>(words[2]));
  ask("cuMemAlloc_v2", &x, sizeof numbers);
  ask("cuMemAlloc_v2", &y, sizeof numbers);
  ask("cuMemcpyHtoD_v2", x, static_cast<const void *>(numbers), sizeof numbers);
  void *given[] = {&n, &x, &y};
  void *nothing = nullptr;
  ask("cuLaunchKernel", function, 2u, 1u, 1u, 64u, 1u, 1u, 1024u, nothing, static_cast<void **>(given), static_cast<void **>(nullptr));
  ask("cuCtxSynchronize");
  ask("cuMemcpyDtoH_v2", static_cast<void *>(numbers), y, sizeof numbers);
  for (float number : numbers) {
    printf("%g ", number);
  }
  puts("");
  return 0;
}
