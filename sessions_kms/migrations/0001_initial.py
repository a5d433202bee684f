from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = [  # noqa: RUF012 - as Django writes it
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.CharField(
                        max_length=43, primary_key=True, serialize=False, verbose_name="id"
                    ),
                ),
            ],
            options={
                "permissions": (
                    ("view_session", "Can view sessions"),
                    ("end_session", "Can end sessions"),
                ),
                "managed": False,
                "base_manager_name": "objects",
                "default_permissions": (),
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
            },
        ),
    ]
