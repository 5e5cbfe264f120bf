from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool

from slimworks.components.serving.gap_messages import ReflectionRequest
from slimworks.components.serving.reflection import HEALTH_SERVICE, SERVICES, answer

NAMES = [*SERVICES, HEALTH_SERVICE]


def test_services_are_listed():
    response = answer(ReflectionRequest(list_services="*"), NAMES)
    assert [entry.name for entry in response.list_services_response.service] == NAMES
    assert response.original_request.list_services == "*"


def test_files_of_each_service_build_a_complete_pool():
    for name in NAMES:
        response = answer(ReflectionRequest(file_containing_symbol=name), NAMES)
        files = response.file_descriptor_response.file_descriptor_proto
        protos = [descriptor_pb2.FileDescriptorProto.FromString(content) for content in files]
        assert len({proto.name for proto in protos}) == len(protos)
        waiting = {proto.name: proto for proto in protos}
        pool = descriptor_pool.DescriptorPool()
        while waiting:  # a file needs those that it imports
            ready = [n for n, p in waiting.items() if not waiting.keys() & set(p.dependency)]
            for path in ready:
                pool.AddSerializedFile(waiting.pop(path).SerializeToString())
        assert pool.FindServiceByName(name).methods


def test_files_are_found_by_name():
    name = "tensorflow_serving/apis/predict.proto"
    response = answer(ReflectionRequest(file_by_filename=name), NAMES)
    first = response.file_descriptor_response.file_descriptor_proto[0]
    assert descriptor_pb2.FileDescriptorProto.FromString(first).name == name


def test_what_is_unknown_is_said():
    response = answer(ReflectionRequest(file_containing_symbol="no.Such"), NAMES)
    assert response.error_response.error_code == 5
    response = answer(ReflectionRequest(all_extension_numbers_of_type="x"), NAMES)
    assert response.error_response.error_code == 12
