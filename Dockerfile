# syntax=docker/dockerfile:1

# The image holds one static binary and the certificates of public authorities: no shell, no
# package manager, no root.
# The version that go.mod asks for: the image does not fetch another.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/slipstream ./cmd/slipstream

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/slipstream /slipstream
EXPOSE 8080
ENV SLIPSTREAM_HTTP_ADDR=:8080 SLIPSTREAM_LOG_FORMAT=json
# On SIGTERM the process has SLIPSTREAM_STREAM_STOP_TIMEOUT to finish batches in flight.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/slipstream"]
CMD ["run"]
