// "Back" would otherwise ask whether to sign out once more: this page answered a POST.
history.replaceState(null, "", "/");
document.getElementById("single-logout").submit();
