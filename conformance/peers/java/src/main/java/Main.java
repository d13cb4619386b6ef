import com.google.gson.*;
import io.spiffe.bundle.jwtbundle.*;
import io.spiffe.bundle.x509bundle.*;
import io.spiffe.spiffeid.*;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.*;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.cert.*;
import java.util.*;

/** Runs the vectors against java-spiffe: one line a vector, its ID and what came of it. */
public class Main {
    interface Judge { String judge(JsonObject v) throws Exception; }

    static byte[] bytes(JsonElement e) { return Base64.getDecoder().decode(e.getAsString()); }

    static String ids(JsonObject v) throws Exception {
        JsonElement in = v.get("input");
        SpiffeId id;
        switch (v.get("op").getAsString()) {
            case "spiffe_id": SpiffeId.parse(in.getAsString()); return "accept";
            case "trust_domain": TrustDomain.parse(in.getAsString()); return "accept";
            case "from_segments": {
                List<String> list = new ArrayList<>();
                in.getAsJsonArray().forEach(e -> list.add(e.getAsString()));
                id = SpiffeId.fromSegments(TrustDomain.parse(list.get(0)), list.subList(1, list.size()).toArray(new String[0]));
                break;
            }
            default: return "skip";
        }
        return id.toString().equals(v.get("output").getAsString()) ? "accept" : "reject yields " + id;
    }

    @SuppressWarnings("unchecked")
    static List<X509Certificate> certificates(byte[] der) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        return (List<X509Certificate>) (List<?>) new ArrayList<>(factory.generateCertificates(new ByteArrayInputStream(der)));
    }

    static String x509Svid(JsonObject v) throws Exception {
        JsonObject in = v.getAsJsonObject("input");
        if (v.get("op").getAsString().equals("load")) {
            X509Svid.parseRaw(bytes(in.get("chain")), bytes(in.get("private_key")));
            return "accept";
        }
        X509BundleSet bundles = null;
        for (Map.Entry<String, JsonElement> e : in.getAsJsonObject("bundles").entrySet()) {
            X509Bundle bundle = new X509Bundle(TrustDomain.parse(e.getKey()));
            for (JsonElement root : e.getValue().getAsJsonArray()) {
                bundle.addX509Authority(certificates(bytes(root)).get(0));
            }
            if (bundles == null) bundles = X509BundleSet.of(Collections.singletonList(bundle)); else bundles.put(bundle);
        }
        if (bundles == null) return "skip";
        X509SvidValidator.verifyChain(certificates(bytes(in.get("chain"))), bundles);
        return "accept";
    }

    static String jwtSvid(JsonObject v) throws Exception {
        JsonObject in = v.getAsJsonObject("input");
        JwtBundleSet bundles = null;
        for (Map.Entry<String, JsonElement> e : in.getAsJsonObject("bundles").entrySet()) {
            JwtBundle bundle = JwtBundle.parse(TrustDomain.parse(e.getKey()), e.getValue().toString().getBytes(StandardCharsets.UTF_8));
            if (bundles == null) bundles = JwtBundleSet.of(Collections.singletonList(bundle)); else bundles.put(bundle);
        }
        if (bundles == null) return "skip";
        Set<String> audiences = new HashSet<>();
        in.getAsJsonArray("audiences").forEach(a -> audiences.add(a.getAsString()));
        JwtSvid.parseAndValidate(in.get("token").getAsString(), bundles, audiences);
        return "accept";
    }

    public static void main(String[] args) throws Exception {
        Map<String, Judge> kinds = new LinkedHashMap<>();
        kinds.put("ids", Main::ids);
        kinds.put("x509_svid", Main::x509Svid);
        kinds.put("jwt_svid", Main::jwtSvid);
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (Map.Entry<String, Judge> kind : kinds.entrySet()) {
            String text = new String(Files.readAllBytes(Paths.get(args[0], kind.getKey() + ".json")), StandardCharsets.UTF_8);
            for (JsonElement e : JsonParser.parseString(text).getAsJsonObject().getAsJsonArray("vectors")) {
                JsonObject v = e.getAsJsonObject();
                String outcome;
                try {
                    outcome = v.has("clock") ? "skip" : kind.getValue().judge(v);
                } catch (Throwable t) {
                    outcome = "reject " + t.getClass().getSimpleName() + " " + String.valueOf(t.getMessage()).replace('\n', ' ');
                }
                out.println(v.get("id").getAsString() + " " + outcome);
            }
        }
    }
}
