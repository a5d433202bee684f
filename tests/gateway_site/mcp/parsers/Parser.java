// Prints what a server with Jackson would call for each message: a base64 text per line on stdin, a
// JSON line per message on stdout: {"bean": calls, "folding": calls, "tree": calls}, null for an error.
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

public class Parser {
  public static class Params {
    public String name;
    public String uri;
  }

  public static class Message {
    public String jsonrpc;
    public String method;
    public Params params;
  }

  static final ObjectMapper BEAN =
      JsonMapper.builder().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).build();
  static final ObjectMapper FOLDING =
      JsonMapper.builder()
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_PROPERTIES)
          .build();

  static List<List<String>> bean(ObjectMapper mapper, byte[] data) {
    Message[] found;
    try {
      found = mapper.readValue(data, Message[].class);
    } catch (Exception notMany) {
      try {
        found = new Message[] {mapper.readValue(data, Message.class)};
      } catch (Exception invalid) {
        return null;
      }
    }
    List<List<String>> calls = new ArrayList<>();
    for (Message each : found) {
      if (each == null || each.method == null) continue;
      Params params = each.params == null ? new Params() : each.params;
      calls.add(Arrays.asList(each.method, params.name, params.uri));
    }
    return calls;
  }

  static String text(JsonNode node) {
    return node.isTextual() ? node.textValue() : null;
  }

  static List<List<String>> tree(byte[] data) {
    try {
      JsonNode found = BEAN.readTree(data);
      if (text(found.path("method")) == null) return List.of();
      JsonNode params = found.path("params");
      return List.of(
          Arrays.asList(
              text(found.path("method")), text(params.path("name")), text(params.path("uri"))));
    } catch (Exception invalid) {
      return null;
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    BufferedWriter out =
        new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      byte[] data = Base64.getDecoder().decode(line);
      Map<String, Object> found = new LinkedHashMap<>();
      found.put("bean", bean(BEAN, data));
      found.put("folding", bean(FOLDING, data));
      found.put("tree", tree(data));
      out.write(BEAN.writeValueAsString(found));
      out.write("\n");
    }
    out.flush();
  }
}
