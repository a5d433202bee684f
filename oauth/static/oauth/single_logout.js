// "Back" would otherwise ask whether to sign out once more: this page answered a POST.
history.replaceState(null, "", "/");
const way = document.getElementById("single-logout");
if (way.href) {
  location.replace(way.href);
} else {
  way.submit();
}
