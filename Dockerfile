# docker build -t ringbinder .
# docker run --network host -v /etc/ringbinder:/etc/ringbinder:ro -v ringbinder:/var/lib/ringbinder ringbinder
# Host network, because the addresses that SIP messages carry must be those that phones can reach.
# The user in the container, 10001, must be able to read the configuration.

FROM rust:1.92-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY conf conf
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/ringbinder --create-home --shell /usr/sbin/nologin ringbinder \
    && chmod 0700 /var/lib/ringbinder
COPY --from=build /src/target/release/ringbinder /usr/bin/ringbinder
USER 10001
ENV STATE_DIRECTORY=/var/lib/ringbinder
VOLUME /var/lib/ringbinder
EXPOSE 5060/udp 5060/tcp 5061/tcp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/ringbinder"]
CMD ["run", "--config", "/etc/ringbinder/ringbinder.toml"]
