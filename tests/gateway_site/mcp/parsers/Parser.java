// Prints what programs with Jackson find in each text: a base64 text per line on stdin, a JSON line per
// text on stdout: {"bean": found, "folding": found, "tree": found}, null for an error. With the
// argument `calls`: the calls that a server would make of a message: method, name and address, the
// reference of a completion, the subscriptions, and each address as java.net.URI has it. With
// `lists`: the names in a result, by kind.
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.Stream;

public class Parser {
  public static class Reference {
    public String type;
    public String name;
    public String uri;
  }

  public static class Notifications {
    public List<String> resourceSubscriptions = List.of();
  }

  public static class Params {
    public String name;
    public String uri;
    public JsonNode ref;
    public JsonNode notifications;
  }

  public static class Message {
    public String jsonrpc;
    public String method;
    public Params params;
  }

  public static class Entry {
    public String name;
    public String uri;
    public String uriTemplate;
  }

  public static class Result {
    public List<Entry> tools = List.of();
    public List<Entry> prompts = List.of();
    public List<Entry> resources = List.of();
    public List<Entry> resourceTemplates = List.of();
  }

  public static class Answer {
    public Result result = new Result();
  }

  static final ObjectMapper BEAN =
      JsonMapper.builder().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).build();
  static final ObjectMapper FOLDING =
      JsonMapper.builder()
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_PROPERTIES)
          .build();
  static final Map<String, String> ENTRIES =
      Map.of("tools", "name", "prompts", "name", "resources", "uri", "resourceTemplates", "uriTemplate");

  static List<String> forms(String uri) {
    try {
      return List.of(URI.create(uri).normalize().toString());
    } catch (Exception invalid) {
      return List.of();
    }
  }

  static List<Object> call(
      String method, String name, String uri, Reference ref, List<String> subscriptions) {
    List<String> wanted = subscriptions.stream().filter(Objects::nonNull).toList();
    Map<String, List<String>> forms =
        Stream.concat(Stream.of(uri, ref.uri), wanted.stream())
            .filter(Objects::nonNull)
            .distinct()
            .collect(Collectors.toMap(each -> each, Parser::forms));
    return Arrays.asList(
        method, name, uri, Arrays.asList(ref.type, ref.name, ref.uri), wanted, forms);
  }

  static <T> T read(ObjectMapper mapper, JsonNode node, Class<T> kind, T otherwise) {
    try {
      T found = node == null ? null : mapper.treeToValue(node, kind);
      return found == null ? otherwise : found;
    } catch (Exception invalid) {
      return otherwise;
    }
  }

  static Object calls(ObjectMapper mapper, byte[] data) {
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
    List<List<Object>> calls = new ArrayList<>();
    for (Message each : found) {
      if (each == null || each.method == null) continue;
      Params params = each.params == null ? new Params() : each.params;
      Reference ref = read(mapper, params.ref, Reference.class, new Reference());
      Notifications wanted =
          read(mapper, params.notifications, Notifications.class, new Notifications());
      List<String> subscriptions =
          wanted.resourceSubscriptions == null ? List.of() : wanted.resourceSubscriptions;
      calls.add(call(each.method, params.name, params.uri, ref, subscriptions));
    }
    return calls;
  }

  static String text(JsonNode node) {
    return node.isTextual() ? node.textValue() : null;
  }

  static Object treeOfCall(byte[] data) {
    try {
      JsonNode found = BEAN.readTree(data);
      if (text(found.path("method")) == null) return List.of();
      JsonNode params = found.path("params");
      Reference ref = new Reference();
      ref.type = text(params.path("ref").path("type"));
      ref.name = text(params.path("ref").path("name"));
      ref.uri = text(params.path("ref").path("uri"));
      List<String> wanted = new ArrayList<>();
      params.path("notifications").path("resourceSubscriptions").forEach(e -> wanted.add(text(e)));
      return List.of(
          call(
              text(found.path("method")),
              text(params.path("name")),
              text(params.path("uri")),
              ref,
              wanted));
    } catch (Exception invalid) {
      return null;
    }
  }

  static List<String> names(List<Entry> entries, String member) {
    List<String> found = new ArrayList<>();
    for (Entry each : entries == null ? List.<Entry>of() : entries) {
      if (each == null) continue;
      String name =
          switch (member) {
            case "name" -> each.name;
            case "uri" -> each.uri;
            default -> each.uriTemplate;
          };
      if (name != null) found.add(name);
    }
    return found;
  }

  static Object lists(ObjectMapper mapper, byte[] data) {
    try {
      Answer found = mapper.readValue(data, Answer.class);
      Result result = found.result == null ? new Result() : found.result;
      return Map.of(
          "tools", names(result.tools, "name"),
          "prompts", names(result.prompts, "name"),
          "resources", names(result.resources, "uri"),
          "resourceTemplates", names(result.resourceTemplates, "uriTemplate"));
    } catch (Exception invalid) {
      return null;
    }
  }

  static Object treeOfLists(byte[] data) {
    try {
      JsonNode result = BEAN.readTree(data).path("result");
      Map<String, List<String>> found = new LinkedHashMap<>();
      ENTRIES.forEach(
          (kind, member) -> {
            List<String> names = new ArrayList<>();
            result.path(kind).forEach(each -> names.add(text(each.path(member))));
            found.put(kind, names.stream().filter(Objects::nonNull).toList());
          });
      return found;
    } catch (Exception invalid) {
      return null;
    }
  }

  public static void main(String[] arguments) throws Exception {
    boolean isLists = arguments[0].equals("lists");
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    BufferedWriter out =
        new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      byte[] data = Base64.getDecoder().decode(line);
      Map<String, Object> found = new LinkedHashMap<>();
      found.put("bean", isLists ? lists(BEAN, data) : calls(BEAN, data));
      found.put("folding", isLists ? lists(FOLDING, data) : calls(FOLDING, data));
      found.put("tree", isLists ? treeOfLists(data) : treeOfCall(data));
      out.write(BEAN.writeValueAsString(found));
      out.write("\n");
    }
    out.flush();
  }
}
