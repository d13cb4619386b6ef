import io.spiffe.provider.SpiffeSslContextFactory;
import io.spiffe.provider.SpiffeSslContextFactory.SslContextOptions;
import io.spiffe.spiffeid.SpiffeId;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLSocket;

/** What the Workload API offers to java-spiffe, before and after a rotation, and mTLS with ADDRESS. */
public final class Client {
    private static final String AUDIENCE = "interop";

    public static void main(String[] arguments) {
        try {
            run(arguments[0], arguments[1]);
        } catch (Throwable err) {
            System.err.println("java-spiffe: " + err);
            System.exit(1);
        }
        System.exit(0);
    }

    private static void run(String expected, String address) throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient();
                DefaultX509Source source = DefaultX509Source.newSource()) {
            var first = client.fetchX509Context().getDefaultSvid();
            check(first.getSpiffeId().toString().equals(expected), "another ID: " + first.getSpiffeId());
            tokens(client, expected);
            greeting(source, expected, address);
            rotation(client, first.getLeaf().getSerialNumber());
            Thread.sleep(500);
            greeting(source, expected, address);
            System.out.println("x509-svid, jwt-svid, mtls, rotation " + expected);
        }
    }

    private static void tokens(WorkloadApiClient client, String expected) throws Exception {
        var token = client.fetchJwtSvid(AUDIENCE).getToken();
        check(client.validateJwtSvid(token, AUDIENCE).getSpiffeId().toString().equals(expected), "another ID");
        try {
            client.validateJwtSvid(token, "other");
        } catch (Exception refused) {
            check(!client.fetchJwtBundles().getBundles().isEmpty(), "no JWT bundles");
            return;
        }
        throw new IllegalStateException("a token for another audience was accepted");
    }

    private static void greeting(DefaultX509Source source, String expected, String address) throws Exception {
        var options = SslContextOptions.builder()
                .x509Source(source)
                .acceptedSpiffeIdsSupplier(() -> Set.of(SpiffeId.parse(expected)))
                .build();
        var colon = address.lastIndexOf(':');
        var port = Integer.parseInt(address.substring(colon + 1));
        var factory = SpiffeSslContextFactory.getSslContext(options).getSocketFactory();
        try (var socket = (SSLSocket) factory.createSocket(address.substring(0, colon), port)) {
            var got = new String(socket.getInputStream().readNBytes(5), StandardCharsets.UTF_8);
            check(got.equals("hello"), "mTLS carried " + got);
        }
    }

    private static void rotation(WorkloadApiClient client, BigInteger first) throws Exception {
        var rotated = new CountDownLatch(1);
        client.watchX509Context(new Watcher<X509Context>() {
            @Override
            public void onUpdate(X509Context update) {
                if (!update.getDefaultSvid().getLeaf().getSerialNumber().equals(first)) {
                    rotated.countDown();
                }
            }

            @Override
            public void onError(Throwable err) {
                System.err.println("watch: " + err);
            }
        });
        check(rotated.await(120, TimeUnit.SECONDS), "no rotation");
    }

    private static void check(boolean wanted, String what) {
        if (!wanted) {
            throw new IllegalStateException(what);
        }
    }
}
