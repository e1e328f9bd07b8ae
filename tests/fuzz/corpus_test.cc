// Feeds every file of a fuzz target's corpus to it, as the fuzzer would: seeds, what widened the
// coverage, and what fuzzing has found. A failure is an abort, or a sanitizer's report.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Corpus, EveryInputEndsWell) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/corpus/" FUZZ_TARGET)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_GT(files.size(), 2u) << "the corpus is not there";
  for (const auto& path : files) {
    // The last line before an abort names the input.
    std::cout << path.filename().string() << std::endl;
    const std::string input = ReadAll(path);
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()),
              0);
  }
  std::cout << files.size() << " inputs" << std::endl;
}

TEST(Corpus, TheEmptyInputEndsWell) {
  const uint8_t nothing = 0;
  EXPECT_EQ(LLVMFuzzerTestOneInput(&nothing, 0), 0);
}

}  // namespace
