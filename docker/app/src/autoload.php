<?php

/*
 * Debian's packages put each class at /usr/share/php/<its name as a path>, so one rule finds them all.
 * (Each package has an autoload.php as well: some forty of them, which would be asked one after another.)
 */
spl_autoload_register(static function (string $class): void {
    $path = str_replace('\\', '/', $class);
    $file = str_starts_with($class, 'App\\')
        ? __DIR__.substr($path, 3).'.php'
        : '/usr/share/php/'.$path.'.php';
    if (is_file($file)) {
        require $file;
    }
});

// Functions cannot be found by a name.
require '/usr/share/php/Symfony/Contracts/Deprecation/autoload.php';
require '/usr/share/php/Symfony/Component/String/Resources/functions.php';
