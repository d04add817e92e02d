// Explain a photograph with a fused model in C++ (PPM in and out, as `magick photo.jpg -resize '224x224!' photo.ppm` writes it):
//   g++ -std=c++17 explain.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -o explain
//   ./explain fused.onnx photo.ppm overlay.ppm

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>
#include <vector>

int main(int, char** arguments) {
  Ort::Env environment;
  Ort::Session session(environment, arguments[1], Ort::SessionOptions());
  const auto shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();  // N, height, width, 3

  std::ifstream photo(arguments[2], std::ios::binary);
  std::string kind;
  int64_t width = 0, height = 0, most = 0;
  photo >> kind >> width >> height >> most;
  photo.get();
  std::vector<uint8_t> pixels(shape[1] * shape[2] * 3);
  if (kind != "P6" || height != shape[1] || width != shape[2] || most != 255 ||
      !photo.read(reinterpret_cast<char*>(pixels.data()), pixels.size())) {
    std::cerr << "a PPM of " << shape[2] << " x " << shape[1] << " is needed\n";
    return 1;
  }

  // -1 is the class of the highest logit, -2 the next one; numbers from 0 on are class indices.
  std::vector<int64_t> classes{-1, -2, -3};
  const std::vector<int64_t> image_shape{1, height, width, 3}, classes_shape{1, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  std::vector<Ort::Value> feed;
  feed.push_back(Ort::Value::CreateTensor(memory, pixels.data(), pixels.size(), image_shape.data(), 4));
  feed.push_back(Ort::Value::CreateTensor(memory, classes.data(), classes.size(), classes_shape.data(), 2));
  const char* inputs[] = {"image", "classes"};
  const char* outputs[] = {"class_ids", "class_probabilities", "class_logits", "n_segments", "segment_contributions", "overlay"};
  auto results = session.Run(Ort::RunOptions(), inputs, feed.data(), 2, outputs, 6);

  const int32_t count = results[3].GetTensorData<int32_t>()[0];
  const int64_t slots = results[4].GetTensorTypeAndShapeInfo().GetShape()[2];
  for (size_t rank = 0; rank < classes.size(); ++rank) {
    std::printf("%lld: %.4f, logit %.3f\n", static_cast<long long>(results[0].GetTensorData<int64_t>()[rank]),
                results[1].GetTensorData<float>()[rank], results[2].GetTensorData<float>()[rank]);
    const float* contributions = results[4].GetTensorData<float>() + rank * slots;
    std::vector<int32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return contributions[a] > contributions[b]; });
    for (int place = 0; place < std::min(count, 3); ++place) {
      std::printf("  superpixel %d adds %.3f\n", order[place], contributions[order[place]]);
    }
  }
  std::ofstream overlay(arguments[3], std::ios::binary);
  overlay << "P6\n" << width << ' ' << height << "\n255\n";
  overlay.write(reinterpret_cast<const char*>(results[5].GetTensorData<uint8_t>()), pixels.size());
}
