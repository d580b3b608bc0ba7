#pragma once
/// Reading of tables of numbers, for the examples.

#include <cmath>
#include <cstdlib>
#include <equiprop/equiprop.hpp>
#include <filesystem>
#include <fstream>
#include <string>

/// Appends the numbers of one line to `numbers` and returns how many there are.
inline equiprop::Index read_line(const std::string& line, std::size_t row,
                                 std::vector<float>& numbers) {
  const std::size_t before = numbers.size();
  for (const char* at = line.c_str();; ++at) {
    char* end = nullptr;
    numbers.push_back(std::strtof(at, &end));
    equiprop::require(end != at && std::isfinite(numbers.back()) && (*end == ',' || *end == '\0'),
                      "read_csv", "Each field is a number, and commas separate fields.", "'", at,
                      "' in row ", row);
    at = end;
    if (*at == '\0') return static_cast<equiprop::Index>(numbers.size() - before);
  }
}

/// Reads a CSV file without a header into a matrix (fields, rows): each row of the file becomes a column.
inline equiprop::State<float> read_csv(const std::filesystem::path& path) {
  std::ifstream file(path);
  equiprop::require(file.is_open(), "read_csv", "The file must exist and be readable.",
                    path.string());
  std::vector<float> numbers;
  equiprop::Index fields = 0, rows = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    const equiprop::Index count = read_line(line, static_cast<std::size_t>(++rows), numbers);
    if (rows == 1) fields = count;
    equiprop::require(count == fields, "read_csv", "All rows have equally many fields.", count,
                      " in row ", rows, ", ", fields, " in row 1");
  }
  equiprop::require(rows > 0, "read_csv", "The file has rows.", "none in ", path.string());
  return Eigen::Map<equiprop::State<float>>(numbers.data(), fields, rows);
}

/// Returns the class of each sample: the index of its largest output.
inline std::vector<equiprop::Index> classes_of(const equiprop::State<float>& outputs) {
  std::vector<equiprop::Index> classes(static_cast<std::size_t>(outputs.cols()));
  for (equiprop::Index j = 0; j < outputs.cols(); ++j)
    outputs.col(j).maxCoeff(&classes[static_cast<std::size_t>(j)]);
  return classes;
}
